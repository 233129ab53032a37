with source as (
    select * from {{ ref('raw_web_visits') }}
),

ranked as (
    select
        *,
        row_number() over (
            partition by visit_id
            order by
                case when loaded_at is null then 1 else 0 end asc,
                loaded_at desc,
                -- from here on only so that a tie falls the same way on every run
                case when customer_id is null then 1 else 0 end asc,
                customer_id asc,
                visited_at asc,
                page asc,
                device asc
        ) as load_rank
    from source
    where visit_id is not null
),

-- strangers are left out after the latest row is known: a visit may have been given a customer, or lost one, later
latest as (
    select * from ranked
    where load_rank = 1
        and customer_id is not null
),

final as (
    select
        visit_id,
        customer_id,

        page,
        device,

        cast(visited_at as timestamp) as visited_at
    from latest
)

select * from final

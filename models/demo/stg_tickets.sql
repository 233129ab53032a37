with source as (
    select * from {{ ref('raw_support_tickets') }}
),

ranked as (
    select
        *,
        row_number() over (
            partition by ticket_id
            order by
                case when loaded_at is null then 1 else 0 end asc,
                loaded_at desc,
                -- from here on only so that a tie falls the same way on every run
                case when answered_at is null then 1 else 0 end asc,
                answered_at asc,
                opened_at asc,
                customer_id asc,
                topic asc
        ) as load_rank
    from source
    where ticket_id is not null
),

latest as (
    select * from ranked
    where load_rank = 1
),

final as (
    select
        ticket_id,
        customer_id,

        topic,

        cast(opened_at as timestamp) as opened_at,
        cast(answered_at as timestamp) as answered_at
    from latest
)

select * from final

with source as (
    select * from {{ ref('raw_customers') }}
),

ranked as (
    select
        *,
        row_number() over (
            partition by customer_id
            order by
                case when loaded_at is null then 1 else 0 end asc,
                loaded_at desc,
                -- from here on only so that a tie falls the same way on every run
                case when fraud_confirmed_at is null then 1 else 0 end asc,
                fraud_confirmed_at asc,
                signed_up_on asc,
                country asc,
                channel asc,
                age_band asc
        ) as load_rank
    from source
    where customer_id is not null
),

latest as (
    select * from ranked
    where load_rank = 1
),

final as (
    select
        customer_id,

        case when country = 'UK' then 'United Kingdom' else country end as country,
        channel,
        age_band,

        cast(signed_up_on as date) as signed_up_on,
        cast(fraud_confirmed_at as timestamp) as fraud_confirmed_at
    from latest
)

select * from final

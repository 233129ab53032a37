with tickets as (
    select * from {{ ref('stg_tickets') }}
),

answered as (
    select * from tickets
    where answered_at is not null
),

final as (
    select
        ticket_id,
        customer_id,

        topic,

        answered_at
    from answered
)

select * from final

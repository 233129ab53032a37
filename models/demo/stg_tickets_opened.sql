with tickets as (
    select * from {{ ref('stg_tickets') }}
),

final as (
    select
        ticket_id,
        customer_id,

        topic,

        opened_at
    from tickets
)

select * from final

with source as (
    select * from {{ ref('raw_fraud_reports') }}
),

final as (
    select distinct
        report_id,
        customer_id,

        verdict = 'fraud' as is_fraud,

        cast(occurred_at as timestamp) as occurred_at,
        cast(decided_at as timestamp) as known_at
    from source
)

select * from final

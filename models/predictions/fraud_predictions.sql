-- Fraud: what the champion says of every customer who is not known to be a fraud yet. Without the setting `fraud` no rows.
{%- set fraud = caspr.fraud() %}

with

scores as (
    select * from {{ caspr.scored('fraud_scores') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

customers_without_activity as (
    select * from {{ ref('customers_without_activity') }}
),

customers as (
    {{ caspr.scored_customers() | indent(4) }}
),

{% if fraud -%}
reports as (
    {{ caspr.fraud_reports(fraud) | indent(4) }}
),

-- The models were fitted on customers at risk: nothing is said of others.
at_risk as (
    {{ caspr.customers_at_risk_of_fraud('customers') | indent(4) }}
),

{%- else -%}
at_risk as (
    select * from customers
    where 1 = 0
),

{%- endif %}

ranked as (
    select
        scores.*,
        at_risk.has_activity,
        {{ caspr.add_days('scores.cutoff_at', caspr.horizon_days('fraud')) }} as horizon_ends_at,
        row_number() over (
            partition by scores.cutoff_at
            -- recall at alerts is measured on customers with activities: nobody without takes an alert from them
            order by
                case when at_risk.has_activity then 0 else 1 end asc,
                scores.fraud_probability desc,
                {{ caspr.text_order('scores.customer_id') }} asc
        ) as suspicion_rank
    from scores
    inner join at_risk
        on scores.customer_id = at_risk.customer_id
        and scores.cutoff_at = at_risk.cutoff_at
),

final as (
    select
        customer_id,
        cutoff_at,
        horizon_ends_at,
        fraud_probability,
        cast(suspicion_rank as integer) as suspicion_rank,
        suspicion_rank <= {{ fraud.alerts_per_day * fraud.horizon_days if fraud else 0 }} as is_alert,
        has_activity,
        learner,
        representation,
        note
    from ranked
)

select
    customer_id,
    cutoff_at,
    horizon_ends_at,
    fraud_probability,
    suspicion_rank,
    is_alert,
    has_activity,
    learner,
    representation,
    note
from final

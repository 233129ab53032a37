-- Fraud: a confirmed one within the horizon, and since when that is known. Without the setting `fraud` there are no rows.
{%- set fraud = caspr.fraud() %}

with

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

fraud_cutoffs as (
    {{ caspr.task_cutoffs('fraud') | indent(4) }}
),

{% if fraud -%}
reports as (
    {{ caspr.fraud_reports(fraud) | indent(4) }}
),

customers as (
    {{ caspr.customers_at_risk_of_fraud() | indent(4) }}
),

-- Nothing that becomes known at or after as_of is known. Of several reports the first fraud counts.
reported as (
    select
        reports.customer_id,
        fraud_cutoffs.cutoff_at,
        max(case when reports.is_fraud then 1 else 0 end) = 1 as is_fraud,
        coalesce(min(case when reports.is_fraud then reports.known_at end), min(reports.known_at)) as known_at,
        min(reports.known_at) as reported_at
    from reports
    inner join fraud_cutoffs
        on {{ caspr.within_horizon('reports.occurred_at', 'fraud_cutoffs.cutoff_at', 'fraud_cutoffs.horizon_ends_at') }}
        and {{ caspr.before_cutoff('reports.known_at', 'fraud_cutoffs.as_of') }}
    group by reports.customer_id, fraud_cutoffs.cutoff_at
),

labelled as (
    select
        customers.customer_id,
        customers.cutoff_at,
        coalesce(reported.is_fraud, false) as is_fraud,
        reported.known_at,
        reported.reported_at
    from customers
    inner join fraud_cutoffs on customers.cutoff_at = fraud_cutoffs.cutoff_at
    {{ 'inner' if fraud.only_reported else 'left' }} join reported
        on customers.customer_id = reported.customer_id
        and customers.cutoff_at = reported.cutoff_at
),

final as (
    select
        customer_id,
        cutoff_at,
        is_fraud,
        known_at,
        reported_at,
        cast({{ 'null' if fraud.only_reported else 'false' }} as {{ dbt.type_boolean() }}) as is_fraud_until_known,
        {{ caspr.cast_numerical(fraud.alerts_per_day * fraud.horizon_days) }}
            / count(*) over (partition by cutoff_at) as alert_share
    from labelled
)
{%- else -%}
final as (
    select
        customer_cutoffs.customer_id,
        customer_cutoffs.cutoff_at,
        false as is_fraud,
        fraud_cutoffs.horizon_ends_at as known_at,
        fraud_cutoffs.horizon_ends_at as reported_at,
        false as is_fraud_until_known,
        {{ caspr.cast_numerical('0') }} as alert_share
    from customer_cutoffs
    inner join fraud_cutoffs on customer_cutoffs.cutoff_at = fraud_cutoffs.cutoff_at
    where 1 = 0
)
{%- endif %}

select
    customer_id,
    cutoff_at,
    is_fraud,
    known_at,
    reported_at,
    is_fraud_until_known,
    alert_share
from final

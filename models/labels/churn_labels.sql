-- Churn: no activity of the configured types within the horizon.
{%- set types = caspr.churn_activity_types() %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

cutoffs as (
    select * from {{ ref('cutoffs') }} where has_labels
),

customers as (
    {{ caspr.customers_at_cutoffs() }}
),

staying as (
    select distinct
        activity_log.customer_id,
        cutoffs.cutoff_at
    from activity_log
    inner join cutoffs
        on {{ caspr.within_horizon('activity_log.occurred_at', 'cutoffs.cutoff_at', 'cutoffs.horizon_ends_at') }}
    {%- if types %}
    where activity_log.activity_type in (
        {%- for type in types %}{{ caspr.text_literal(type) }}{{ ', ' if not loop.last }}{% endfor -%}
    )
    {%- endif %}
),

final as (
    select
        customers.customer_id,
        customers.cutoff_at,
        staying.customer_id is null as is_churned
    from customers
    left join staying
        on customers.customer_id = staying.customer_id
        and customers.cutoff_at = staying.cutoff_at
)

select
    customer_id,
    cutoff_at,
    is_churned
from final

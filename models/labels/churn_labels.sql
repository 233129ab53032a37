-- Churn: no activity of the configured types within the horizon, or an observed outcome in it.
{%- set churn = caspr.churn() %}

with

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

churn_cutoffs as (
    {{ caspr.task_cutoffs('churn') | indent(4) }}
),

{% if churn.observed -%}
outcomes as (
    {{ caspr.observed_outcomes(churn.observed) | indent(4) }}
),

churning as (
    select distinct
        outcomes.customer_id,
        churn_cutoffs.cutoff_at
    from outcomes
    inner join churn_cutoffs
        on {{ caspr.within_horizon('outcomes.occurred_at', 'churn_cutoffs.cutoff_at', 'churn_cutoffs.horizon_ends_at') }}
    where outcomes.is_churned
),
{%- else -%}
activity_log as (
    select * from {{ ref('activity_log') }}
),

staying as (
    select distinct
        activity_log.customer_id,
        churn_cutoffs.cutoff_at
    from activity_log
    inner join churn_cutoffs
        on {{ caspr.within_horizon('activity_log.occurred_at', 'churn_cutoffs.cutoff_at', 'churn_cutoffs.horizon_ends_at') }}
    {%- if churn.activity_types %}
    where activity_log.activity_type in (
        {%- for type in churn.activity_types %}{{ caspr.text_literal(type) }}{{ ', ' if not loop.last }}{% endfor -%}
    )
    {%- endif %}
),
{%- endif %}

customers as (
    {{ caspr.customers_at_risk_of_churn() | indent(4) }}
),

final as (
    select
        customers.customer_id,
        customers.cutoff_at,
        {{ 'churning.customer_id is not null' if churn.observed else 'staying.customer_id is null' }} as is_churned
    from customers
    inner join churn_cutoffs on customers.cutoff_at = churn_cutoffs.cutoff_at
    {%- set found = 'churning' if churn.observed else 'staying' %}
    left join {{ found }}
        on customers.customer_id = {{ found }}.customer_id
        and customers.cutoff_at = {{ found }}.cutoff_at
)

select
    customer_id,
    cutoff_at,
    is_churned
from final

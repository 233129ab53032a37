-- Lifetime value: the money of the horizon, and whether the customer is one of the few who make most of it.
{%- set monetary = caspr.attribute_with_role('monetary') %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
    where is_at_risk
),

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

value_cutoffs as (
    {{ caspr.task_cutoffs('lifetime_value') | indent(4) }}
),

customers as (
    select
        customer_cutoffs.customer_id,
        customer_cutoffs.cutoff_at
    from customer_cutoffs
    inner join value_cutoffs on customer_cutoffs.cutoff_at = value_cutoffs.cutoff_at
),

spending as (
    select
        activity_log.customer_id,
        value_cutoffs.cutoff_at,
        {% if monetary -%}
        {{ caspr.rounded('sum(' ~ caspr.finite('activity_log.' ~ caspr.quoted(monetary.name)) ~ ')') }} as revenue
        {%- else -%}
        {{ caspr.cast_numerical('null') }} as revenue
        {%- endif %}
    from activity_log
    inner join value_cutoffs
        on {{ caspr.within_horizon('activity_log.occurred_at', 'value_cutoffs.cutoff_at', 'value_cutoffs.horizon_ends_at') }}
    group by activity_log.customer_id, value_cutoffs.cutoff_at
),

revenues as (
    select
        customers.customer_id,
        customers.cutoff_at,
        {{ caspr.cast_numerical('coalesce(spending.revenue, 0)') }} as future_revenue
    from customers
    left join spending
        on customers.customer_id = spending.customer_id
        and customers.cutoff_at = spending.cutoff_at
),

final as (
    select
        customer_id,
        cutoff_at,
        future_revenue,
        {{ caspr.is_high_value('future_revenue') }} as is_high_value
    from revenues
)

select
    customer_id,
    cutoff_at,
    future_revenue,
    is_high_value
from final

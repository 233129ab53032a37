-- What the features know and what the labels ask partition time: the money before the cutoff plus the money of the window is
-- all the money before the window's end, none lost at the boundary and none counted twice.
-- With known_at it is no law: money that was loaded late lies in neither.
{{ config(enabled=not caspr.knows_loads()) }}
{%- set monetary = caspr.attribute_with_role('monetary') %}

with

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

-- The end of the window is the task's own.
value_cutoffs as (
    {{ caspr.task_cutoffs('lifetime_value') | indent(4) }}
),

money as (
    select
        activity_log.customer_id,
        value_cutoffs.cutoff_at,
        {% if monetary -%}
        coalesce(sum({{ caspr.finite('activity_log.' ~ caspr.quoted(monetary.name)) }}), 0) as expected
        {%- else -%}
        0 as expected
        {%- endif %}
    from {{ ref('activity_log') }} as activity_log
    inner join value_cutoffs on {{ caspr.before_cutoff('activity_log.occurred_at', 'value_cutoffs.horizon_ends_at') }}
    group by activity_log.customer_id, value_cutoffs.cutoff_at
)

select
    labels.customer_id,
    labels.cutoff_at,
    features.spend_sum,
    labels.future_revenue,
    money.expected
from {{ ref('lifetime_value_labels') }} as labels
left join {{ ref('rfm_features') }} as features
    on labels.customer_id = features.customer_id and labels.cutoff_at = features.cutoff_at
left join money
    on labels.customer_id = money.customer_id and labels.cutoff_at = money.cutoff_at
-- the two rounded sums may differ from the third by their last decimals, which grow with the sums
where not coalesce(
    abs(features.spend_sum + labels.future_revenue - money.expected) <= 0.00001 + 0.000000001 * abs(money.expected), false
)

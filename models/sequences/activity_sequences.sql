-- The latest activities of each customer before each cutoff, oldest first, long.
-- The log carries the order, so a cut needs no window function: the number of the last activity before the cutoff is enough.
-- The trainer reads t from the meta of this model: it is configured here only.
{{ config(meta={'sequence_length': caspr.positive_integer('sequence_length', 15)}) }}
{%- set attributes = caspr.sequence_attributes() %}
{%- set history_length = caspr.history_length() %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

customers as (
    select
        activity_log.customer_id,
        cutoffs.cutoff_at,
        max(activity_log.activity_number) as activities_before
    from activity_log
    inner join cutoffs on {{ caspr.before_cutoff('activity_log.occurred_at', 'cutoffs.cutoff_at') }}
    group by activity_log.customer_id, cutoffs.cutoff_at
),

kept as (
    select
        activity_log.*,
        customers.cutoff_at,
        customers.activities_before,
        case
            when customers.activities_before > {{ history_length }} then customers.activities_before - {{ history_length }}
            else 0
        end as activities_dropped
    from customers
    inner join activity_log
        on customers.customer_id = activity_log.customer_id
        and activity_log.activity_number <= customers.activities_before
        and activity_log.activity_number > customers.activities_before - {{ history_length }}
),

final as (
    select
        customer_id,
        cutoff_at,
        cast(activity_number - activities_dropped as integer) as position,
        cast(activities_before - activity_number + 1 as integer) as recency_rank,
        occurred_at,
        seconds_since_previous,
        {{ caspr.seconds_between('occurred_at', 'cutoff_at') }} as seconds_before_cutoff,
        activity_type
        {%- for attribute in attributes %},
        {{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from kept
)

select
    customer_id,
    cutoff_at,
    position,
    recency_rank,
    occurred_at,
    seconds_since_previous,
    seconds_before_cutoff,
    activity_type
    {%- for attribute in attributes %},
    {{ caspr.quoted(attribute.name) }}
    {%- endfor %}
from final

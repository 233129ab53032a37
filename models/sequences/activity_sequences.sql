-- The latest activities of each customer before each cutoff, oldest first, long.
-- The log carries the order, so a cut needs no window function: the number of activities before the cutoff is enough.
-- The trainer reads t from the meta of this model: it is configured here only.
{{ config(
    materialized=caspr.incremental_or_table(),
    incremental_strategy=caspr.incremental_strategy(),
    on_schema_change='sync_all_columns',
    pre_hook="{{ caspr.delete_stale(ref('customer_cutoffs'), ['customer_id', 'cutoff_at']) }}",
    meta={'sequence_length': caspr.positive_integer('sequence_length', 15), 'history_length': caspr.history_length()},
) }}
{%- set attributes = caspr.sequence_attributes() + caspr.relative_attributes() %}
{%- set history_length = caspr.history_length() %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

pairs as (
    select * from customer_cutoffs
    where {{ caspr.missing_from_this('customer_cutoffs', ['customer_id', 'cutoff_at']) | indent(4) }}
),

{{ caspr.known_activities() }},

kept as (
    select
        *,
        case
            when activity_count > {{ history_length }} then activity_count - {{ history_length }} else 0
        end as activities_dropped
    from known_activities
    where activity_number > activity_count - {{ history_length }}
),

final as (
    select
        customer_id,
        cutoff_at,
        cast(activity_number - activities_dropped as integer) as position,
        cast(activity_count - activity_number + 1 as integer) as recency_rank,
        occurred_at,
        seconds_since_previous,
        {{ caspr.seconds_between('occurred_at', 'cutoff_at') }} as seconds_before_cutoff,
        activity_type
        {%- for attribute in attributes %},
        {{ caspr.quoted(attribute.name) }}
        {%- endfor %},
        customer_fingerprint
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
    {%- endfor %},
    customer_fingerprint
from final

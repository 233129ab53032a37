-- The law of conservation: what the streams hold is in the log or in rejected_activities, each row once.
-- Rows are compared, not their numbers: a stale row in the one and its successor in neither would add up.
{%- set columns = ['stream_rank', 'activity_id', 'customer_id', 'occurred_at', 'loaded_at'] | join(',\n        ') %}

with

source_activities as (
    {{ caspr.source_activities() | indent(4) }}
),

differences as (
    select
        {{ columns }},
        1 as row_count
    from source_activities
    union all
    select
        {{ columns }},
        -1 as row_count
    from {{ ref('activity_log') }}
    union all
    select
        {{ columns }},
        -1 as row_count
    from {{ ref('rejected_activities') }}
),

totals as (
    select
        {{ columns }},
        sum(row_count) as too_few
    from differences
    group by {{ columns }}
)

select
    {{ columns }},
    too_few
from totals
where too_few <> 0

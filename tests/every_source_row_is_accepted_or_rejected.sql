-- The law of conservation: what the streams hold is in the log or in rejected_activities, each row once.
with

source_rows as (
    {%- for stream in caspr.streams() %}
    select
        {{ stream.rank }} as stream_rank,
        count(*) as row_count
    from {{ caspr.configured_model(stream) }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

accepted as (
    select
        stream_rank,
        count(*) as row_count
    from {{ ref('activity_log') }}
    group by stream_rank
),

rejected as (
    select
        stream_rank,
        count(*) as row_count
    from {{ ref('rejected_activities') }}
    group by stream_rank
)

select
    source_rows.stream_rank,
    source_rows.row_count,
    accepted.row_count as accepted,
    rejected.row_count as rejected
from source_rows
left join accepted on source_rows.stream_rank = accepted.stream_rank
left join rejected on source_rows.stream_rank = rejected.stream_rank
where source_rows.row_count <> coalesce(accepted.row_count, 0) + coalesce(rejected.row_count, 0)

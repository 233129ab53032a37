-- Every row of the streams that is not in activity_log, with the reason: nothing is dropped in silence.
-- The first mart: before anything is built it checks that the configured columns exist.
{%- do caspr.check_columns() %}

with

source_activities as (
    {{ caspr.source_activities() | indent(4) }}
),

-- Rows of one stream that share their key. The latest load counts, also if it is rejected; the others are named here.
repeated as (
    select
        source_activities.stream_rank,
        source_activities.activity_id
    from source_activities
    where {{ caspr.is_version('source_activities') | indent(4) }}
    group by source_activities.stream_rank, source_activities.activity_id
    having count(*) > 1
),

versions as (
    {{ caspr.activity_versions('repeated') | indent(4) }}
),

final as (
    select
        stream,
        stream_rank,
        activity_id,
        customer_id,
        occurred_at,
        loaded_at,
        rejection
    from source_activities
    where rejection is not null
    union all
    select
        stream,
        stream_rank,
        activity_id,
        customer_id,
        occurred_at,
        loaded_at,
        'repeated_activity_id' as rejection
    from versions
    where version_rank > 1 and rejection is null
)

select
    stream,
    cast(stream_rank as integer) as stream_rank,
    activity_id,
    customer_id,
    occurred_at,
    loaded_at,
    {{ caspr.cast_categorical('rejection') }} as rejection
from final

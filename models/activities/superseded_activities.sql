-- What activities were before a later load of their key corrected them; with known_at only, else it stays empty.
-- Between its own load and the next one a cutoff knows the activity so, also if it is another customer's today.
{%- set attributes = caspr.sequence_attributes() %}

with

rejected_activities as (
    select * from {{ ref('rejected_activities') }}
),

repeated as (
    select distinct
        stream_rank,
        activity_id
    from rejected_activities
    where {{ "rejection = 'repeated_activity_id'" if caspr.knows_loads() else '1 = 0' }}
),

versions as (
    {{ caspr.activity_versions('repeated') | indent(4) }}
),

with_next_loads as (
    select
        *,
        lag(loaded_at) over (partition by stream_rank, activity_id order by version_rank) as superseded_at
    from versions
),

-- Of several rows of one load the first counts; the others never did.
final as (
    select * from with_next_loads
    where loaded_at < superseded_at and rejection is null
)

select
    customer_id,
    occurred_at,
    loaded_at,
    superseded_at,
    stream,
    cast(stream_rank as integer) as stream_rank,
    activity_id,
    activity_type
    {%- for attribute in attributes %},
    {{ caspr.quoted(attribute.name) }}
    {%- endfor %}
from final

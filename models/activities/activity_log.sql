-- Every activity of every stream, numbered in the one total order. Built once, cut per cutoff later.
{%- do caspr.check_columns() %}
{%- set attributes = caspr.sequence_attributes() %}
{%- set as_of = caspr.configured_as_of() %}

with

{% for stream in caspr.streams() -%}
stream_{{ stream.rank }} as (
    {{ caspr.stream_activities(stream, attributes) }}
),

{% endfor -%}
united as (
    {%- for stream in caspr.streams() %}
    select * from stream_{{ stream.rank }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

known as (
    select *
    from united
    {%- if as_of %}
    -- A missing time stays, so that the not_null test reports it.
    where {{ caspr.before_cutoff('occurred_at', caspr.timestamp_literal(as_of)) }} or occurred_at is null
    {%- endif %}
),

numbered as (
    select
        *,
        row_number() over (partition by customer_id order by {{ caspr.activity_order() }}) as activity_number,
        lag(occurred_at) over (partition by customer_id order by {{ caspr.activity_order() }}) as previous_at
    from known
),

final as (
    select
        customer_id,
        occurred_at,
        stream,
        cast(stream_rank as integer) as stream_rank,
        activity_id,
        cast(activity_number as integer) as activity_number,
        {{ caspr.seconds_between('previous_at', 'occurred_at') }} as seconds_since_previous,
        activity_type
        {%- for attribute in attributes %},
        {{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from numbered
)

select
    customer_id,
    occurred_at,
    stream,
    stream_rank,
    activity_id,
    activity_number,
    seconds_since_previous,
    activity_type
    {%- for attribute in attributes %},
    {{ caspr.quoted(attribute.name) }}
    {%- endfor %}
from final

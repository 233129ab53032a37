-- Every activity of every stream that counts, numbered in the one total order. Built once, cut per cutoff later.
{{ config(
    materialized=caspr.incremental_or_table(),
    incremental_strategy=caspr.incremental_strategy(),
    on_schema_change='sync_all_columns',
    pre_hook="{{ caspr.delete_stale(ref('customer_fingerprints'), ['customer_id']) }}",
) }}
{%- set attributes = caspr.sequence_attributes() %}
{%- set relative = caspr.relative_attributes() %}

with

rejected_activities as (
    select * from {{ ref('rejected_activities') }}
),

customer_fingerprints as (
    select * from {{ ref('customer_fingerprints') }}
),

-- All of a customer's activities or none: an order cannot be mended row by row.
touched as (
    select
        customer_id,
        customer_fingerprint
    from customer_fingerprints
    where {{ caspr.missing_from_this('customer_fingerprints', ['customer_id']) | indent(4) }}
),

accepted as (
    {{ caspr.accepted_activities() | indent(4) }}
),

known as (
    select
        accepted.*,
        touched.customer_fingerprint
    from accepted
    inner join touched on accepted.customer_id = touched.customer_id
),

numbered as (
    select
        *,
        row_number() over (partition by customer_id order by {{ caspr.activity_order() }}) as activity_number,
        lag(occurred_at) over (partition by customer_id order by {{ caspr.activity_order() }}) as previous_at
    from known
),

{{ caspr.relative_ctes('numbered', ['customer_id']) }}

final as (
    select
        numbered.customer_id,
        numbered.occurred_at,
        numbered.loaded_at,
        numbered.stream,
        cast(numbered.stream_rank as integer) as stream_rank,
        numbered.activity_id,
        cast(numbered.activity_number as integer) as activity_number,
        {{ caspr.seconds_between('numbered.previous_at', 'numbered.occurred_at') }} as seconds_since_previous,
        numbered.activity_type
        {%- for attribute in attributes %},
        numbered.{{ caspr.quoted(attribute.name) }}
        {%- endfor %}
        {%- for attribute in relative %},
        {{ caspr.relative_number('numbered', attribute) }} as {{ caspr.quoted(attribute.name) }}
        {%- endfor %},
        numbered.customer_fingerprint
    from numbered
    {{ caspr.relative_join('numbered', ['customer_id']) | indent(4) }}
)

select
    customer_id,
    occurred_at,
    loaded_at,
    stream,
    stream_rank,
    activity_id,
    activity_number,
    seconds_since_previous,
    activity_type
    {%- for attribute in attributes + relative %},
    {{ caspr.quoted(attribute.name) }}
    {%- endfor %},
    customer_fingerprint
from final

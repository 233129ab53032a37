-- What each customer's activities are, as one number: if it changed since a mart was built, the customer is built anew.
{%- set attributes = caspr.sequence_attributes() %}
{%- set columns = ['occurred_at', 'activity_type'] %}
{%- for attribute in attributes %}
    {%- do columns.append(caspr.quoted(attribute.name)) %}
{%- endfor %}
{%- set with_loads = [] %}
{%- for stream in caspr.streams() if stream.loaded_at %}
    {%- do with_loads.append(stream.rank) %}
{%- endfor %}

with

rejected_activities as (
    select * from {{ ref('rejected_activities') }}
),

accepted as (
    {{ caspr.accepted_activities() | indent(4) }}
),

hashed as (
    select
        customer_id,
        {#- A stream that says when a row was loaded says with it when a row changed: its other columns need no reading. #}
        {% if with_loads | length == caspr.streams() | length -%}
        {{ caspr.row_hash(['stream_rank', 'activity_id', 'loaded_at']) }} as activity_hash
        {%- elif with_loads -%}
        case
            when stream_rank in ({{ with_loads | join(', ') }}) then {{ caspr.row_hash(['stream_rank', 'activity_id', 'loaded_at']) }}
            else {{ caspr.row_hash(['stream_rank', 'activity_id'] + columns) }}
        end as activity_hash
        {%- else -%}
        {{ caspr.row_hash(['stream_rank', 'activity_id'] + columns) }} as activity_hash
        {%- endif %}
    from accepted
),

totals as (
    select
        customer_id,
        {{ caspr.text_literal(caspr.settings_hash()) }} as settings_hash,
        count(*) as activity_count,
        {{ caspr.hash_total('activity_hash') }} as hash_total
    from hashed
    group by customer_id
),

final as (
    select
        customer_id,
        cast(activity_count as {{ dbt.type_bigint() }}) as activity_count,
        {{ caspr.row_hash(['settings_hash', 'activity_count', 'hash_total']) }} as customer_fingerprint
    from totals
)

select
    customer_id,
    activity_count,
    customer_fingerprint
from final

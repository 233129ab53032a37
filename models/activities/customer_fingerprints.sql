-- What each customer's activities are, as one short text: if it changed since a mart was built, the customer is built anew.
{%- set attributes = caspr.sequence_attributes() %}
{%- set columns = ['occurred_at', 'activity_type'] %}
{%- for attribute in attributes %}
    {%- do columns.append(caspr.quoted(attribute.name)) %}
{%- endfor %}
{%- set with_loads = caspr.streams() | selectattr('loaded_at') | list %}
{%- set knows_loads = caspr.knows_loads() %}
{%- set key = ['stream_rank', 'activity_id'] + (['loaded_at'] if with_loads else []) %}

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
        1 as is_counted,
        {% if with_loads -%}
        -- Where a row says when it was loaded it says when it changed: the other columns need no reading. A key that several rows
        -- share may change hands within one load.
        case
            when loaded_at is not null and not is_repeated then {{ caspr.row_hash(key) }}
            else {{ caspr.row_hash(key + columns) }}
        end as activity_hash
        {%- else -%}
        {{ caspr.row_hash(key + columns) }} as activity_hash
        {%- endif %}
    from accepted
    {%- if knows_loads %}
    union all
    select
        customer_id,
        0 as is_counted,
        {{ caspr.row_hash(key + columns + ['superseded_at']) }} as activity_hash
    from {{ ref('superseded_activities') }}
    {%- endif %}
),

totals as (
    select
        customer_id,
        {{ caspr.text_literal(caspr.settings_hash()) }} as settings_hash,
        cast(sum(is_counted) as {{ dbt.type_bigint() }}) as activity_count,
        {{ caspr.hash_total('activity_hash') }} as hash_total
    from hashed
    group by customer_id
),

final as (
    select
        customer_id,
        activity_count,
        {{ caspr.cast_categorical(caspr.row_hash(['settings_hash', 'activity_count', 'hash_total'])) }} as customer_fingerprint
    from totals
)

select
    customer_id,
    activity_count,
    customer_fingerprint
from final

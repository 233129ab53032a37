{#- The select of one stream in the shape that all streams share; see _macros.yml. -#}
{% macro stream_activities(stream, attributes) -%}
    {%- set own = {} -%}
    {%- for attribute in stream.attributes -%}
        {%- do own.update({attribute.name: caspr.quoted(attribute.column)}) -%}
    {%- endfor -%}
    select
        {{ caspr.key_of(stream.customer_id) }} as customer_id,
        {{ caspr.utc_timestamp(caspr.quoted(stream.occurred_at)) }} as occurred_at,
        {% if stream.loaded_at -%}
        {{ caspr.utc_timestamp(caspr.quoted(stream.loaded_at)) }} as loaded_at,
        {%- else -%}
        cast(null as {{ dbt.type_timestamp() }}) as loaded_at,
        {%- endif %}
        {{ caspr.text_literal(stream.model) }} as stream,
        {{ stream.rank }} as stream_rank,
        {{ caspr.key_of(stream.activity_id) }} as activity_id,
        {% if stream.activity_type is none -%}
        {{ caspr.cast_categorical(caspr.quoted(stream.activity_type_column)) }} as activity_type
        {%- else -%}
        {{ caspr.text_literal(stream.activity_type) }} as activity_type
        {%- endif %}
        {%- for attribute in attributes %},
        {{ caspr.cast_kind(own.get(attribute.name, 'null'), attribute.kind) }} as {{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from {{ caspr.configured_model(stream) }}
{%- endmacro %}

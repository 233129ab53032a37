{#- What counts today and, with known_at, what counted until a later load of its key, in one shape; see _macros.yml. -#}
{% macro loaded_activities(activity_log, superseded_activities) -%}
    {%- set columns = ['customer_id', 'occurred_at', 'loaded_at', 'stream_rank', 'activity_id', 'activity_type'] -%}
    {%- for attribute in caspr.sequence_attributes() -%}
        {%- do columns.append(caspr.quoted(attribute.name)) -%}
    {%- endfor -%}
    select
        {%- for column in columns %}
        {{ column }},
        {%- endfor %}
        cast(null as {{ dbt.type_timestamp() }}) as superseded_at
    from {{ activity_log }}
    union all
    select
        {%- for column in columns %}
        {{ column }},
        {%- endfor %}
        superseded_at
    from {{ superseded_activities }}
{%- endmacro %}

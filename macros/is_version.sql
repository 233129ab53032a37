{#- A condition: the row takes part in the ranking of those that share its activity_id; see _macros.yml. -#}
{% macro is_version(source_activities) -%}
    {%- set with_loads = [] -%}
    {%- for stream in caspr.streams() if stream.loaded_at -%}
        {%- do with_loads.append(stream.rank) -%}
    {%- endfor -%}
    {%- if not with_loads -%}
    {{ source_activities }}.rejection is null
    {%- else -%}
    (
        {{ source_activities }}.rejection is null
        or (
            {{ source_activities }}.stream_rank in ({{ with_loads | join(', ') }})
            and {{ source_activities }}.activity_id <> ''
            {%- if caspr.knows_loads() %}
            and {{ source_activities }}.loaded_at is not null
            {%- if caspr.configured_as_of() %}
            and {{ caspr.before_cutoff(source_activities ~ '.loaded_at', caspr.timestamp_literal(caspr.configured_as_of())) }}
            {%- endif %}
            {%- endif %}
        )
    )
    {%- endif -%}
{%- endmacro %}

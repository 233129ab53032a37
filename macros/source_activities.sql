{#- All rows of all streams in one shape, each with the reason why it is rejected, or null; see _macros.yml. -#}
{% macro source_activities() -%}
    {%- set attributes = caspr.sequence_attributes() -%}
    {%- set as_of, knows_loads = caspr.configured_as_of(), caspr.knows_loads() -%}
    {%- set with_loads = [] -%}
    {%- for stream in caspr.streams() if stream.loaded_at -%}
        {%- do with_loads.append(stream.rank) -%}
    {%- endfor -%}
    select
        *,
        case
            {{ caspr.bad_key_or_time(['customer_id', 'activity_id', 'activity_type']) | indent(8) }}
            {%- if knows_loads %}
            when loaded_at is null and stream_rank in ({{ with_loads | join(', ') }}) then 'null_loaded_at'
            {%- endif %}
            {%- if as_of %}
            when not {{ caspr.before_cutoff('occurred_at', caspr.timestamp_literal(as_of)) }} then 'at_or_after_as_of'
            {%- if knows_loads %}
            when not {{ caspr.before_cutoff('loaded_at', caspr.timestamp_literal(as_of)) }} then 'loaded_at_or_after_as_of'
            {%- endif %}
            {%- endif %}
        end as rejection
    from (
        {%- for stream in caspr.streams() %}
        {{ caspr.stream_activities(stream, attributes) | indent(4) }}
        {%- if not loop.last %}
        union all
        {%- endif %}
        {%- endfor %}
    ) as united
{%- endmacro %}

{#- The instant from which on nothing is known, as an expression over the log: as_of, or the start of the day after the
    last activity. Never the wall clock, so that yesterday can be built again. -#}
{% macro as_of(last_activity_at='max(occurred_at)') -%}
    {%- set configured = caspr.configured_as_of() -%}
    {%- if configured -%}
    {{ caspr.timestamp_literal(configured) }}
    {%- else -%}
    {{ caspr.add_days(caspr.period_start('day', last_activity_at), 1) }}
    {%- endif -%}
{%- endmacro %}

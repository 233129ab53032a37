{#- Days from one timestamp to a later one, as a double with its fraction. -#}
{% macro days_between(from_at, until_at) -%}
    ({{ caspr.seconds_between(from_at, until_at) }} / 86400.0)
{%- endmacro %}

{#- The one half-open rule of what a row may know: strictly before its cutoff. -#}
{% macro before_cutoff(occurred_at, cutoff_at='cutoff_at') -%}
    {{ occurred_at }} < {{ cutoff_at }}
{%- endmacro %}

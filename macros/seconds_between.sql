{#- Seconds from one timestamp to a later one, as a double with its fraction (dbt.datediff counts whole boundaries only). -#}
{% macro seconds_between(from_at, until_at) %}{{ return(adapter.dispatch('seconds_between', 'caspr')(from_at, until_at)) }}{% endmacro %}

{% macro default__seconds_between(from_at, until_at) -%}
    cast(extract(epoch from ({{ until_at }} - {{ from_at }})) as {{ caspr.type_double() }})
{%- endmacro %}

{#- A time as a timestamp without a zone, in UTC; one that has no zone is taken as UTC. A plain cast would read a zoned time in the
    zone of whatever machine runs it. -#}
{% macro utc_timestamp(expression) %}{{ return(adapter.dispatch('utc_timestamp', 'caspr')(expression)) }}{% endmacro %}

{% macro default__utc_timestamp(expression) -%}
    cast({{ expression }} as {{ dbt.type_timestamp() }})
{%- endmacro %}

{#- https://duckdb.org/docs/stable/sql/functions/timestamp: epoch_us is the same instant whatever the type of time. -#}
{% macro duckdb__utc_timestamp(expression) -%}
    make_timestamp(epoch_us({{ expression }}))
{%- endmacro %}

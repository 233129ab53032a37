{#- The name of the 8-byte floating-point type (dbt.type_float is 4 bytes wide on some warehouses). -#}
{% macro type_double() %}{{ return(adapter.dispatch('type_double', 'caspr')()) }}{% endmacro %}

{% macro default__type_double() %}double{% endmacro %}

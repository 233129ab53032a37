{#- Categories and keys are text everywhere. -#}
{% macro cast_categorical(expression) -%}
    cast({{ expression }} as {{ dbt.type_string() }})
{%- endmacro %}

{#- A timestamp constant from checked text. -#}
{% macro timestamp_literal(text) -%}
    cast({{ dbt.string_literal(text) }} as {{ dbt.type_timestamp() }})
{%- endmacro %}

{#- A text constant of the text type. -#}
{% macro text_literal(text) -%}
    cast({{ dbt.string_literal(dbt.escape_single_quotes(text)) }} as {{ dbt.type_string() }})
{%- endmacro %}

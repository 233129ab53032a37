{#- A value of a JSON column, or null where Google Analytics only says that it says nothing; see known.yml. -#}
{% macro known(column, key) -%}
    case
        when json_extract_string({{ column }}, '$.{{ key }}') not in ('(not set)', '(none)', 'not available in demo dataset')
            then json_extract_string({{ column }}, '$.{{ key }}')
    end
{%- endmacro %}

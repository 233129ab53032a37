{#- Six decimals: a sum of doubles depends on the order of addition, which threads change from run to run. -#}
{% macro rounded(expression) %}{{ return(adapter.dispatch('rounded', 'caspr')(expression)) }}{% endmacro %}

{% macro default__rounded(expression) -%}
    round({{ expression }}, 6)
{%- endmacro %}

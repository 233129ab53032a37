{#- The tasks that are measured, in the order of reading; see _macros.yml. -#}
{% macro tasks() %}
    {{ return(['churn', 'lifetime_value', 'fraud', 'recommendation']) }}
{% endmacro %}

{#- Whether a column (dbt's Column) can be cast to a number without looking at its values: not text, time or a nested type. -#}
{% macro is_numerical_type(column) %}
    {%- set type = column.dtype | lower -%}
    {{ return(not column.is_string() and not modules.re.match('^(date|time|interval|uuid|blob|json|struct|map)|.*\\[', type)) }}
{% endmacro %}

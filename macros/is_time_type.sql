{#- Whether a column (dbt's Column) holds instants: a timestamp with or without a zone, a datetime or a date. -#}
{% macro is_time_type(column) %}
    {{ return(modules.re.match('^(timestamp|datetime|date)', column.dtype | lower) is not none) }}
{% endmacro %}

{#- Whether a column (dbt's Column) holds instants: a timestamp with or without a zone, a datetime or a date; no range of dates. -#}
{% macro is_time_type(column) %}
    {{ return(modules.re.match('^(timestamp|datetime|date)(_[a-z]+|tz)?( ?[(][0-9]+[)])?( with(out)? time zone)?$', column.dtype | lower) is not none) }}
{% endmacro %}

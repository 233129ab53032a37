{#- The start of the day, week (from Monday) or month that holds a timestamp, as a timestamp. -#}
{% macro period_start(unit, expression) %}
    {%- if unit not in ('day', 'week', 'month') -%}
        {{ exceptions.raise_compiler_error("caspr.period_start: the unit is '" ~ unit ~ "'; expected day, week or month") }}
    {%- endif -%}
    {{ return(adapter.dispatch('period_start', 'caspr')(unit, expression)) }}
{% endmacro %}

{#- Weeks begin on Monday on DuckDB, Postgres, Spark, Databricks and Redshift, whatever the locale. -#}
{% macro default__period_start(unit, expression) -%}
    cast({{ dbt.date_trunc(unit, expression) }} as {{ dbt.type_timestamp() }})
{%- endmacro %}

{#- https://docs.snowflake.com/en/sql-reference/functions-date-time#label-calendar-weeks-weekdays: the parameter WEEK_START moves
    date_trunc('week'), so the days since Monday are taken off instead. -#}
{% macro snowflake__period_start(unit, expression) -%}
    {%- if unit == 'week' -%}
    cast(dateadd(day, 1 - dayofweekiso({{ expression }}), date_trunc('day', {{ expression }})) as {{ dbt.type_timestamp() }})
    {%- else -%}
    {{ caspr.default__period_start(unit, expression) }}
    {%- endif -%}
{%- endmacro %}

{#- https://cloud.google.com/bigquery/docs/reference/standard-sql/timestamp_functions#timestamp_trunc: week begins on Sunday, isoweek
    on Monday. -#}
{% macro bigquery__period_start(unit, expression) -%}
    timestamp_trunc({{ expression }}, {{ 'isoweek' if unit == 'week' else unit }})
{%- endmacro %}

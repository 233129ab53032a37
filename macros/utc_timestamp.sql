{#- A time as a timestamp without a zone, in UTC; one that has no zone is taken as UTC. A plain cast would read a zoned time in the
    zone of whatever machine runs it. -#}
{% macro utc_timestamp(expression) %}{{ return(adapter.dispatch('utc_timestamp', 'caspr')(expression)) }}{% endmacro %}

{#- Right where the session is in UTC: on Spark and Databricks check_session says so, on BigQuery and Redshift it is so unless changed. -#}
{% macro default__utc_timestamp(expression) -%}
    cast({{ expression }} as {{ dbt.type_timestamp() }})
{%- endmacro %}

{#- https://duckdb.org/docs/stable/sql/functions/timestamp: epoch_us is the same instant whatever the type of time. Of infinity it is
    null; the cast keeps that an infinity, so that an impossible time is told from a missing one. -#}
{% macro duckdb__utc_timestamp(expression) -%}
    coalesce(make_timestamp(epoch_us({{ expression }})), cast({{ expression }} as timestamp))
{%- endmacro %}

{#- https://www.postgresql.org/docs/current/functions-datetime.html#FUNCTIONS-DATETIME-EXTRACT: the epoch of a timestamp is nominal,
    that of one with a zone is the instant. A double holds it to the microsecond until the year 2242. -#}
{% macro postgres__utc_timestamp(expression) -%}
    timezone('UTC', to_timestamp(extract(epoch from {{ expression }})))
{%- endmacro %}

{#- Redshift has no to_timestamp of a number. https://docs.aws.amazon.com/redshift/latest/dg/r_Datetime_types.html -#}
{% macro redshift__utc_timestamp(expression) -%}
    cast({{ expression }} as timestamp)
{%- endmacro %}

{#- https://docs.snowflake.com/en/sql-reference/functions/date_part and .../functions/to_timestamp: scale 6 is microseconds. -#}
{% macro snowflake__utc_timestamp(expression) -%}
    to_timestamp_ntz(date_part(epoch_microsecond, {{ expression }}), 6)
{%- endmacro %}

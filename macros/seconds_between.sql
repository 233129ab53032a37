{#- Seconds from one timestamp to a later one, as a double with its fraction (dbt.datediff counts whole boundaries only). -#}
{% macro seconds_between(from_at, until_at) %}{{ return(adapter.dispatch('seconds_between', 'caspr')(from_at, until_at)) }}{% endmacro %}

{#- DuckDB and Postgres: the difference is an interval, its epoch is exact. -#}
{% macro default__seconds_between(from_at, until_at) -%}
    cast(extract(epoch from ({{ until_at }} - {{ from_at }})) as {{ caspr.type_double() }})
{%- endmacro %}

{#- https://spark.apache.org/docs/latest/api/sql/#unix_micros; Databricks has the same function. -#}
{% macro spark__seconds_between(from_at, until_at) -%}
    ((unix_micros({{ until_at }}) - unix_micros({{ from_at }})) / cast(1000000 as double))
{%- endmacro %}

{#- https://docs.snowflake.com/en/sql-reference/functions/datediff -#}
{% macro snowflake__seconds_between(from_at, until_at) -%}
    (cast(datediff(microsecond, {{ from_at }}, {{ until_at }}) as double) / 1000000)
{%- endmacro %}

{#- https://cloud.google.com/bigquery/docs/reference/standard-sql/timestamp_functions#timestamp_diff -#}
{% macro bigquery__seconds_between(from_at, until_at) -%}
    (timestamp_diff({{ until_at }}, {{ from_at }}, microsecond) / 1000000)
{%- endmacro %}

{#- https://docs.aws.amazon.com/redshift/latest/dg/r_DATEDIFF_function.html -#}
{% macro redshift__seconds_between(from_at, until_at) -%}
    (cast(datediff(microsecond, {{ from_at }}, {{ until_at }}) as double precision) / 1000000)
{%- endmacro %}

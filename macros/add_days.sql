{#- So many whole days later (earlier if negative), to the microsecond (dbt.dateadd cuts to seconds on Spark, and changes the type on
    BigQuery). -#}
{% macro add_days(timestamp, days) %}{{ return(adapter.dispatch('add_days', 'caspr')(timestamp, days)) }}{% endmacro %}

{% macro default__add_days(timestamp, days) -%}
    cast({{ dbt.dateadd('day', days, timestamp) }} as {{ dbt.type_timestamp() }})
{%- endmacro %}

{#- https://spark.apache.org/docs/latest/api/sql/#make_dt_interval; Databricks has the same function. -#}
{% macro spark__add_days(timestamp, days) -%}
    ({{ timestamp }} + make_dt_interval({{ days }}))
{%- endmacro %}

{#- https://cloud.google.com/bigquery/docs/reference/standard-sql/timestamp_functions#timestamp_add -#}
{% macro bigquery__add_days(timestamp, days) -%}
    timestamp_add({{ timestamp }}, interval {{ days }} day)
{%- endmacro %}

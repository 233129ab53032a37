{#- How the marts of customers are built: incrementally where the warehouse can delete rows, whole where it cannot. -#}
{% macro incremental_or_table() %}{{ return(adapter.dispatch('incremental_or_table', 'caspr')()) }}{% endmacro %}

{% macro default__incremental_or_table() %}{{ return('incremental') }}{% endmacro %}

{#- https://spark.apache.org/docs/latest/sql-ref-syntax.html: there is no delete from a table of Parquet files. -#}
{% macro spark__incremental_or_table() %}{{ return('table') }}{% endmacro %}

{#- https://docs.databricks.com/aws/en/sql/language-manual/delta-delete-from -#}
{% macro databricks__incremental_or_table() %}{{ return('incremental') }}{% endmacro %}

{#- Whether a column that the database shows as `found` is the one that caspr.quoted(name) asks for. -#}
{% macro is_named(found, name) %}{{ return(adapter.dispatch('is_named', 'caspr')(found, name)) }}{% endmacro %}

{#- DuckDB, Spark, Databricks, BigQuery and Redshift find a name in quotes whatever its case:
    https://duckdb.org/docs/stable/sql/dialect/keywords_and_identifiers#case-sensitivity-of-identifiers,
    https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#case_sensitivity,
    https://docs.aws.amazon.com/redshift/latest/dg/r_names.html -#}
{% macro default__is_named(found, name) %}{{ return(found | lower == name | lower) }}{% endmacro %}

{#- https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS: in quotes every letter counts. -#}
{% macro postgres__is_named(found, name) %}{{ return(found == name) }}{% endmacro %}

{% macro redshift__is_named(found, name) %}{{ return(caspr.default__is_named(found, name)) }}{% endmacro %}

{#- As snowflake__quoted. -#}
{% macro snowflake__is_named(found, name) %}{{ return(found == name | upper) }}{% endmacro %}

{#- A column's name, quoted: an attribute may be called "order" or "group". -#}
{% macro quoted(name) %}{{ return(adapter.dispatch('quoted', 'caspr')(name)) }}{% endmacro %}

{#- A quote within the name is written twice; dbt does not do so. -#}
{% macro default__quoted(name) %}{{ return(adapter.quote(name | replace('"', '""'))) }}{% endmacro %}

{#- https://spark.apache.org/docs/latest/sql-ref-identifier.html; Databricks has the same. -#}
{% macro spark__quoted(name) %}{{ return(adapter.quote(name | replace('`', '``'))) }}{% endmacro %}

{#- https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#quoted_identifiers: escapes are those of text. -#}
{% macro bigquery__quoted(name) %}{{ return(adapter.quote(name | replace('\\', '\\\\') | replace('`', '\\`'))) }}{% endmacro %}

{#- https://docs.snowflake.com/en/sql-reference/identifiers-syntax: a name without quotes is upper case, one with quotes is as written. -#}
{% macro snowflake__quoted(name) %}{{ return(adapter.quote(name | upper | replace('"', '""'))) }}{% endmacro %}

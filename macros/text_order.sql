{#- A text as a term of an `order by` that compares bytes, so that ties fall the same way everywhere. DuckDB, Spark and BigQuery do so by
    themselves; Snowflake, Databricks and Redshift unless the account, the column or the cluster has another collation. -#}
{% macro text_order(expression) %}{{ return(adapter.dispatch('text_order', 'caspr')(expression)) }}{% endmacro %}

{% macro default__text_order(expression) -%}
    {{ expression }}
{%- endmacro %}

{#- https://www.postgresql.org/docs/current/collation.html: a database's own collation is that of a language. -#}
{% macro postgres__text_order(expression) -%}
    {{ expression }} collate "C"
{%- endmacro %}

{#- Redshift has no collate clause here. https://docs.aws.amazon.com/redshift/latest/dg/c_collation_sequences.html -#}
{% macro redshift__text_order(expression) -%}
    {{ expression }}
{%- endmacro %}

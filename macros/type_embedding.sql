{#- The name of the type that holds an embedding: an array of 4-byte numbers, or the nearest there is. -#}
{% macro type_embedding() %}{{ return(adapter.dispatch('type_embedding', 'caspr')()) }}{% endmacro %}

{% macro default__type_embedding() %}float[]{% endmacro %}

{#- https://www.postgresql.org/docs/current/arrays.html: float[] would be an array of 8-byte numbers. -#}
{% macro postgres__type_embedding() %}real[]{% endmacro %}

{#- https://spark.apache.org/docs/latest/sql-ref-datatypes.html; Databricks has the same. -#}
{% macro spark__type_embedding() %}array<float>{% endmacro %}

{#- https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#array_type: there are 8-byte numbers only. -#}
{% macro bigquery__type_embedding() %}array<float64>{% endmacro %}

{#- https://docs.snowflake.com/en/sql-reference/data-types-semistructured: a vector would need its length in the type. -#}
{% macro snowflake__type_embedding() %}array{% endmacro %}

{#- https://docs.aws.amazon.com/redshift/latest/dg/r_SUPER_type.html -#}
{% macro redshift__type_embedding() %}super{% endmacro %}

{#- Many hashes as one text, whatever their order: their sum, in a type that holds 10^18 of them. An aggregate; see row_hash. -#}
{% macro hash_total(expression) %}{{ return(adapter.dispatch('hash_total', 'caspr')(expression)) }}{% endmacro %}

{#- Sums of 64-bit numbers are 128 bits wide on DuckDB and unbounded on Postgres. -#}
{% macro default__hash_total(expression) -%}
    cast(sum({{ expression }}) as {{ dbt.type_string() }})
{%- endmacro %}

{#- https://spark.apache.org/docs/latest/sql-ref-ansi-compliance.html: a sum of bigint overflows. -#}
{% macro spark__hash_total(expression) -%}
    cast(sum(cast({{ expression }} as decimal(38, 0))) as {{ dbt.type_string() }})
{%- endmacro %}

{#- https://docs.aws.amazon.com/redshift/latest/dg/r_Numeric_computations201.html -#}
{% macro redshift__hash_total(expression) -%}
    cast(sum(cast({{ expression }} as decimal(38, 0))) as {{ dbt.type_string() }})
{%- endmacro %}

{#- https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types -#}
{% macro bigquery__hash_total(expression) -%}
    cast(sum(cast({{ expression }} as bignumeric)) as {{ dbt.type_string() }})
{%- endmacro %}

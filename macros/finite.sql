{#- The number, or null where it is NaN, infinite or beyond 1e100: one such row must not turn a customer's sums into NaN, nor may
    the squares of a standard deviation overflow. NaN sorts above every number on DuckDB, Postgres, Spark, Databricks, Snowflake and
    Redshift, and on BigQuery no comparison with it holds: the comparison is false for it everywhere. -#}
{% macro finite(expression) %}{{ return(adapter.dispatch('finite', 'caspr')(expression)) }}{% endmacro %}

{% macro default__finite(expression) -%}
    case when abs({{ expression }}) < 1e100 then {{ expression }} end
{%- endmacro %}

{#- https://docs.aws.amazon.com/redshift/latest/dg/r_Numeric_types201.html: a bare 1e100 would be a decimal, which ends at 38 digits. -#}
{% macro redshift__finite(expression) -%}
    case when abs({{ expression }}) < cast('1e100' as double precision) then {{ expression }} end
{%- endmacro %}

{#- A text constant of the text type. -#}
{% macro text_literal(text) -%}
    cast('{{ adapter.dispatch('text_literal_escaped', 'caspr')(text) }}' as {{ dbt.type_string() }})
{%- endmacro %}

{% macro default__text_literal_escaped(text) %}{{ return(text | replace("'", "''")) }}{% endmacro %}

{#- A backslash begins an escape there: https://spark.apache.org/docs/latest/sql-ref-literals.html#string-literal (also Databricks),
    https://docs.snowflake.com/en/sql-reference/data-types-text#escape-sequences-in-single-quoted-string-constants,
    https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#escape_sequences -#}
{% macro spark__text_literal_escaped(text) %}{{ return(text | replace('\\', '\\\\') | replace("'", "\\'")) }}{% endmacro %}

{% macro snowflake__text_literal_escaped(text) %}{{ return(caspr.spark__text_literal_escaped(text)) }}{% endmacro %}

{% macro bigquery__text_literal_escaped(text) %}{{ return(caspr.spark__text_literal_escaped(text) | replace('\n', '\\n')) }}{% endmacro %}

{#- https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html -#}
{% macro redshift__text_literal_escaped(text) %}{{ return(text | replace('\\', '\\\\') | replace("'", "''")) }}{% endmacro %}

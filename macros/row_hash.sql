{#- A 64-bit whole number that stands for a row: the expressions in this order, a null unlike any value, and no two lists of values
    run together. The number is another on every warehouse. -#}
{% macro row_hash(expressions) %}{{ return(adapter.dispatch('row_hash', 'caspr')(expressions)) }}{% endmacro %}

{#- https://duckdb.org/docs/stable/sql/functions/utility: hash gives 64 bits without a sign; one goes, the rest is a bigint. -#}
{% macro default__row_hash(expressions) -%}
    cast(hash({{ expressions | join(', ') }}) >> 1 as bigint)
{%- endmacro %}

{#- https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX: the text of a row quotes what needs it, and tells null from ''. -#}
{% macro postgres__row_hash(expressions) -%}
    hashtextextended(cast(row({{ expressions | join(', ') }}) as text), 0)
{%- endmacro %}

{#- https://spark.apache.org/docs/latest/api/sql/#xxhash64: nulls are passed over, so each value is followed by whether it is one.
    Databricks has the same function. -#}
{% macro spark__row_hash(expressions) -%}
    xxhash64(
        {%- for expression in expressions -%}
        {{ expression }}, {{ expression }} is null{{ ', ' if not loop.last }}
        {%- endfor -%}
    )
{%- endmacro %}

{#- https://docs.snowflake.com/en/sql-reference/functions/hash: nulls count. -#}
{% macro snowflake__row_hash(expressions) -%}
    hash({{ expressions | join(', ') }})
{%- endmacro %}

{#- https://cloud.google.com/bigquery/docs/reference/standard-sql/hash_functions#farm_fingerprint -#}
{% macro bigquery__row_hash(expressions) -%}
    farm_fingerprint(to_json_string(struct(
        {%- for expression in expressions -%}
        {{ expression }} as value_{{ loop.index }}{{ ', ' if not loop.last }}
        {%- endfor -%}
    )))
{%- endmacro %}

{#- https://docs.aws.amazon.com/redshift/latest/dg/r_FARMFINGERPRINT64.html: of one text, so each value comes behind its length. -#}
{% macro redshift__row_hash(expressions) -%}
    farmfingerprint64(
        {%- for expression in expressions -%}
        {%- set text = 'cast(' ~ expression ~ ' as varchar(max))' -%}
        coalesce(cast(len({{ text }}) as varchar(20)) || ':' || {{ text }}, 'n'){{ ' || ' if not loop.last }}
        {%- endfor -%}
    )
{%- endmacro %}

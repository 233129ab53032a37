{#- A column's name, quoted: an attribute may be called "order" or "group". -#}
{% macro quoted(name) %}{{ return(adapter.dispatch('quoted', 'caspr')(name)) }}{% endmacro %}

{% macro default__quoted(name) %}{{ return(adapter.quote(name)) }}{% endmacro %}

{#- https://docs.snowflake.com/en/sql-reference/identifiers-syntax: a name without quotes is upper case, one with quotes is as written. -#}
{% macro snowflake__quoted(name) %}{{ return(adapter.quote(name | upper)) }}{% endmacro %}

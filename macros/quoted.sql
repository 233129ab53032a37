{#- A column's name, quoted: an attribute may be called "order" or "group". -#}
{% macro quoted(name) %}{{ return(adapter.dispatch('quoted', 'caspr')(name)) }}{% endmacro %}

{% macro default__quoted(name) %}{{ return(adapter.quote(name)) }}{% endmacro %}

{#- A setting that counts something: a whole number of at least 1, or its default. -#}
{% macro positive_integer(name, default) %}
    {%- set given = caspr.setting(name) -%}
    {{ return(default if given is none else caspr.check_positive_integer(name, given)) }}
{% endmacro %}

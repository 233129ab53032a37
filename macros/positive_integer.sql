{#- A setting that counts something: a whole number of at least 1. -#}
{% macro positive_integer(name, default) %}
    {%- set given = caspr.setting(name, default) -%}
    {%- if given is not integer or given is boolean or given < 1 -%}
        {%- do caspr.bad_setting(name, given, 'a whole number of at least 1') -%}
    {%- endif -%}
    {{ return(given) }}
{% endmacro %}

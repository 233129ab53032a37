{#- The whole number of at least 1 under a key, or a stop. -#}
{% macro check_positive_integer(key, given) %}
    {%- if given is not integer or given is boolean or given < 1 -%}
        {%- do caspr.bad_setting(key, given, 'a whole number of at least 1') -%}
    {%- endif -%}
    {{ return(given) }}
{% endmacro %}

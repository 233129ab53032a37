{#- The text under a key, or a stop: a column, model or activity type cannot be empty, a list or a mapping. -#}
{% macro check_text(key, given, expected) %}
    {%- if given is not string or not given | trim -%}
        {%- do caspr.bad_setting(key, given, expected) -%}
    {%- endif -%}
    {{ return(given) }}
{% endmacro %}

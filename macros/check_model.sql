{#- The name of a model under a key, or a stop: `model` of the root project, or `package.model`. -#}
{% macro check_model(key, given) %}
    {%- set name = caspr.check_text(key, given, 'the name of a model, seed or snapshot') -%}
    {%- set parts = name.split('.') -%}
    {%- if parts | length > 2 or '' in parts -%}
        {%- do caspr.bad_setting(key, name, 'model, or package.model') -%}
    {%- endif -%}
    {{ return(name) }}
{% endmacro %}

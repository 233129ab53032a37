{#- The relation of a configured model. A bare name is the root project's; one of another package is written package.model.
    Saying the package also keeps dbt from warning that a package depends on its root. -#}
{% macro configured_model(name) %}
    {%- set parts = name.split('.') if '.' in name else [project_name, name] -%}
    {%- if parts | length != 2 -%}
        {%- do caspr.bad_setting('model', name, 'the name of a model, or package.model') -%}
    {%- endif -%}
    {{ return(ref(parts[0], parts[1])) }}
{% endmacro %}

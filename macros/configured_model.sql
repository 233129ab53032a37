{#- The relation of a configured model. A bare name is the root project's; one of another package is written package.model.
    Saying the package also keeps dbt from warning that a package depends on its root. -#}
{% macro configured_model(table) %}
    {%- set parts = table.model.split('.') if '.' in table.model else [project_name, table.model] -%}
    {{ return(ref(parts[0], parts[1])) }}
{% endmacro %}

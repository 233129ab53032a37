{#- Where a table of scores is read: the Python model of that name, or those rows that `caspr_train score` filled under the settings
    of now; see _macros.yml. -#}
{% macro scored(name) %}
    {%- if caspr.has_python_models() -%}
        {{ return(ref('caspr', name)) }}
    {%- endif -%}
    {%- set scores = source('caspr_trained', name) -%}
    {%- for task in caspr.tasks() if name.startswith(task) -%}
        {{ return(
            '(select * from ' ~ scores ~ ' where settings_hash = ' ~ caspr.text_literal(caspr.task_settings_hash(task)) ~ ') as ' ~ name
        ) }}
    {%- endfor -%}
    {{ return(scores) }}
{% endmacro %}

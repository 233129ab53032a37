{#- Where a table of scores is read: the Python model of that name, or of what `caspr_train score` filled what still answers the
    settings; see _macros.yml. -#}
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

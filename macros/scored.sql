{#- The relation of a table of scores: the Python model of that name, or the table that `caspr_train score` fills. -#}
{% macro scored(name) %}
    {{ return(ref('caspr', name) if caspr.has_python_models() else source('caspr_trained', name)) }}
{% endmacro %}

{#- The schema of the trainer's tables; models/sources.yml says the same in the words that YAML allows. -#}
{% macro trained_schema() %}
    {%- set default = target.schema ~ '_trained' -%}
    {{ return(caspr.check_text('trained_schema', caspr.setting('trained_schema', default), 'the name of a schema')) }}
{% endmacro %}

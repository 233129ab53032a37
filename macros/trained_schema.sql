{#- The schema of the trainer's tables; models/sources.yml says the same in the words that YAML allows. -#}
{% macro trained_schema() %}{{ return(caspr.setting('trained_schema', target.schema ~ '_trained')) }}{% endmacro %}

{#- The schema of the trainer's tables; models/sources.yml says the same in the words that YAML allows. -#}
{% macro trained_schema() %}
    {%- set default = target.schema ~ '_trained' -%}
    {%- set name = caspr.check_text('trained_schema', caspr.setting('trained_schema', default), 'the name of a schema') -%}
    {%- if name | lower == target.schema | lower -%}
        {%- do caspr.bad_setting('trained_schema', name, "another schema than the target's own, where customer_embeddings is a view on the table") -%}
    {%- endif -%}
    {{ return(name) }}
{% endmacro %}

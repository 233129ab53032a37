{#- The schema of the trainer's tables; models/sources.yml says the same in the words that YAML allows. -#}
{% macro trained_schema() %}
    {%- set default = target.schema ~ '_trained' -%}
    {%- set name = caspr.check_text('trained_schema', caspr.setting('trained_schema', default), 'the name of a schema') -%}
    {%- if name | lower == target.schema | lower -%}
        {%- do caspr.bad_setting('trained_schema', name, "another schema than the target's own, where customer_embeddings is a view on the table") -%}
    {%- endif -%}
    {%- set given = caspr.given_variables().get('caspr') -%}
    {%- if given is mapping and given.get('trained_schema') is not none -%}
        {#- The YAML of sources cannot see what --vars holds inside a block. -#}
        {%- do caspr.bad_setting('trained_schema', name, "it at the top on the command line: --vars '{trained_schema: " ~ name ~ "}'") -%}
    {%- endif -%}
    {{ return(name) }}
{% endmacro %}

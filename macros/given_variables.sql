{#- What the command line says under --vars, as a mapping; see _macros.yml. -#}
{% macro given_variables() %}
    {%- set given = invocation_args_dict.get('vars') or {} -%}
    {{ return(fromyaml(given, {}) if given is string else given) }}
{% endmacro %}

{#- Stops with one line: the key, what was given, what is expected. -#}
{% macro bad_setting(key, given, expected) %}
    {%- set shown = 'missing' if given is none else caspr.shown(given) | truncate(120, true) -%}
    {{ exceptions.raise_compiler_error('vars: caspr: ' ~ key ~ ' is ' ~ shown ~ '; expected ' ~ expected) }}
{% endmacro %}

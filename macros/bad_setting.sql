{#- Stops with one line: the key, what was given, what is expected. -#}
{% macro bad_setting(key, given, expected) %}
    {{ exceptions.raise_compiler_error(
        'vars: caspr: ' ~ key ~ ' is ' ~ ('missing' if given is none else given | tojson) ~ '; expected ' ~ expected
    ) }}
{% endmacro %}

{#- Stops if `given` is no mapping or holds a key that is not accepted. An empty key means the block itself. -#}
{% macro check_keys(key, given, accepted) %}
    {%- if given is not mapping -%}
        {%- do caspr.bad_setting(key, given, 'a mapping with the keys: ' ~ accepted | join(', ')) -%}
    {%- endif -%}
    {%- for name in given if name not in accepted -%}
        {%- do caspr.bad_setting(
            (key ~ '.' if key else '') ~ name, given[name], 'one of these keys: ' ~ accepted | join(', ')
        ) -%}
    {%- endfor -%}
{% endmacro %}

{#- The columns of a key as a list: one name, or a list of names that together are the key; or a stop. -#}
{% macro check_key_columns(key, given) %}
    {%- set expected = 'the name of a column, or a list of names that together are the key' -%}
    {%- if given is string or given is mapping or given is not iterable -%}
        {{ return([caspr.check_text(key, given, expected)]) }}
    {%- endif -%}
    {%- set columns = given | list -%}
    {%- if not columns or columns | unique | list | length != columns | length -%}
        {%- do caspr.bad_setting(key, given, expected) -%}
    {%- endif -%}
    {%- for column in columns -%}
        {%- do caspr.check_text(key ~ '[' ~ loop.index0 ~ ']', column, 'the name of a column') -%}
    {%- endfor -%}
    {{ return(columns) }}
{% endmacro %}

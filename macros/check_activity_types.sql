{#- The list of activity types under a key, or a stop. -#}
{% macro check_activity_types(key, given) %}
    {%- if given is string or given is mapping or given is not iterable or not given -%}
        {%- do caspr.bad_setting(key, given, 'a list of activity types such as [order]') -%}
    {%- endif -%}
    {%- for type in given -%}
        {%- do caspr.check_text(key ~ '[' ~ loop.index0 ~ ']', type, 'an activity type') -%}
    {%- endfor -%}
    {{ return(given) }}
{% endmacro %}

{#- A value as a message shows it: as JSON, and a date, which is none, as it is written. -#}
{% macro shown(value) %}
    {%- set parts = [] -%}
    {%- if value is mapping -%}
        {%- for key, item in value.items() -%}
            {%- do parts.append(caspr.shown(key ~ '') ~ ': ' ~ caspr.shown(item)) -%}
        {%- endfor -%}
        {{ return('{' ~ parts | join(', ') ~ '}') }}
    {%- elif value is string or value is number or value is boolean or value is none -%}
        {{ return(value | tojson) }}
    {%- elif value is iterable -%}
        {%- for item in value -%}
            {%- do parts.append(caspr.shown(item)) -%}
        {%- endfor -%}
        {{ return('[' ~ parts | join(', ') ~ ']') }}
    {%- endif -%}
    {{ return(value ~ '') }}
{% endmacro %}

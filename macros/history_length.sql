{#- How many of a customer's latest activities are kept per cutoff. -#}
{% macro history_length() %}
    {%- set sequence_length = caspr.positive_integer('sequence_length', 15) -%}
    {%- set history_length = caspr.positive_integer('history_length', 60) -%}
    {%- if history_length < sequence_length -%}
        {%- do caspr.bad_setting('history_length', history_length, 'at least sequence_length, which is ' ~ sequence_length) -%}
    {%- endif -%}
    {{ return(history_length) }}
{% endmacro %}

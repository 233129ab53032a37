{#- The setting rfm_period: within it purchases count as one for the buy-till-you-die numbers. -#}
{% macro rfm_period() %}
    {%- set given = caspr.setting('rfm_period', 'day') -%}
    {%- if given not in ['day', 'week', 'month'] -%}
        {%- do caspr.bad_setting('rfm_period', given, 'day, week or month') -%}
    {%- endif -%}
    {{ return(given) }}
{% endmacro %}

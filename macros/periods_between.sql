{#- Whole days, weeks or months from the beginning of one period to that of another. -#}
{% macro periods_between(period, from_at, until_at) -%}
    {%- if period == 'month' -%}
    {{ dbt.datediff(from_at, until_at, 'month') }}
    {%- else -%}
    {#- Weeks by their days: what a week's boundary is differs between warehouses. -#}
    round({{ caspr.days_between(from_at, until_at) }} / {{ 7 if period == 'week' else 1 }})
    {%- endif -%}
{%- endmacro %}

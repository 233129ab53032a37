{#- Whether an activity is a purchase: it has an item and is of one of the configured types; see _macros.yml. -#}
{% macro is_purchase(activities) -%}
    {%- set recommendation = caspr.recommendation() -%}
    {%- set item = activities ~ '.' ~ caspr.quoted(recommendation.item.name) -%}
    {{ item }} is not null and {{ item }} <> ''
    {%- if recommendation.activity_types %}
    and {{ activities }}.activity_type in (
        {%- for type in recommendation.activity_types %}{{ caspr.text_literal(type) }}{{ ', ' if not loop.last }}{% endfor -%}
    )
    {%- endif -%}
{%- endmacro %}

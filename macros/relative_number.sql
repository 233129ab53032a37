{#- A value over the customer's own mean of strictly earlier activities; null without one, or where the mean is zero. -#}
{% macro relative_number(activities, attribute) -%}
    {{ caspr.rounded(
        caspr.finite(activities ~ '.' ~ caspr.quoted(attribute.of))
        ~ ' / nullif(earlier_values.' ~ attribute.name ~ '_sum / nullif(earlier_values.' ~ attribute.name ~ '_count, 0), 0)'
    ) }}
{%- endmacro %}

{#- A value over the customer's own mean of strictly earlier activities; null without one, or where the mean is zero to six decimals:
    0.1 + 0.2 - 0.3 is no zero in doubles, and a quotient by what is left of it would say nothing. -#}
{% macro relative_number(activities, attribute) -%}
    {%- set mean = 'earlier_values.' ~ attribute.name ~ '_sum / nullif(earlier_values.' ~ attribute.name ~ '_count, 0)' -%}
    {{ caspr.rounded(
        caspr.finite(activities ~ '.' ~ caspr.quoted(attribute.of))
        ~ ' / case when ' ~ caspr.rounded(mean) ~ ' <> 0 then ' ~ mean ~ ' end'
    ) }}
{%- endmacro %}

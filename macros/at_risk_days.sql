{#- The setting at_risk_days, or none: then everybody known at a cutoff is at risk. -#}
{% macro at_risk_days() %}
    {{ return(caspr.positive_integer('at_risk_days', none)) }}
{% endmacro %}

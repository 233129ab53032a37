{#- The observed outcomes of which customer, time and answer are known, as customer_id, occurred_at, is_churned; see _macros.yml. -#}
{% macro observed_outcomes(observed) -%}
    select
        customer_id,
        occurred_at,
        is_churned
    from (
        {{ caspr.source_outcomes(observed) | indent(4) }}
    ) as source_outcomes
    where rejection is null
{%- endmacro %}

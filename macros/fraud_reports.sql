{#- The fraud reports that tell something, as customer_id, occurred_at, known_at, is_fraud; see _macros.yml. -#}
{% macro fraud_reports(fraud) -%}
    select
        customer_id,
        occurred_at,
        known_at,
        is_fraud
    from (
        {{ caspr.source_fraud_reports(fraud) | indent(4) }}
    ) as source_reports
    where rejection is null
{%- endmacro %}

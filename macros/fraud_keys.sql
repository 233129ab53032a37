{#- Every key that may stand under `fraud`. -#}
{% macro fraud_keys() %}
    {{ return([
        'model', 'customer_id', 'occurred_at', 'known_at', 'is_fraud', 'only_reported', 'horizon_days', 'alerts_per_day',
    ]) }}
{% endmacro %}

{#- Every key that may stand under `vars: caspr:`. -#}
{% macro setting_names() %}
    {{ return([
        'streams', 'profile', 'horizon_days', 'churn', 'lifetime_value', 'fraud', 'recommendation', 'at_risk_days', 'as_of', 'train_cutoffs',
        'train_cutoff_step_days', 'cutoffs', 'known_at', 'possible_from', 'possible_until', 'sequence_length', 'history_length',
        'content_values', 'rfm_period', 'champions', 'trained_schema',
    ]) }}
{% endmacro %}

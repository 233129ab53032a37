{#- Every key that may stand under `vars: caspr:`. -#}
{% macro setting_names() %}
    {{ return([
        'streams', 'profile', 'horizon_days', 'as_of', 'train_cutoffs', 'cutoffs', 'sequence_length', 'history_length',
        'churn', 'trained_schema',
    ]) }}
{% endmacro %}

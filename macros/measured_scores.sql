{#- What is scored and measured, by task: the columns of <task>_evaluation that hold a score and its outcome; see _macros.yml. -#}
{% macro measured_scores() %}
    {{ return([
        {'task': 'churn', 'score': 'churn_probability', 'outcome': 'is_churned', 'is_probability': true, 'is_ranked': true},
        {
            'task': 'lifetime_value', 'score': 'predicted_revenue', 'outcome': 'future_revenue',
            'is_probability': false, 'is_ranked': true,
        },
        {
            'task': 'lifetime_value', 'score': 'high_value_probability', 'outcome': 'is_high_value',
            'is_probability': true, 'is_ranked': false,
        },
        {'task': 'fraud', 'score': 'fraud_probability', 'outcome': 'is_fraud', 'is_probability': true, 'is_ranked': true},
    ]) }}
{% endmacro %}

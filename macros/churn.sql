{#- What churn means, checked: {activity_types, observed, horizon_days}; see _macros.yml. -#}
{% macro churn() %}
    {%- set given = caspr.setting('churn', {}) -%}
    {%- do caspr.check_keys('churn', given, ['activity_types', 'observed', 'horizon_days']) -%}
    {%- set types = given.get('activity_types') -%}
    {%- set observed = given.get('observed') -%}
    {%- if types is not none and observed is not none -%}
        {%- do caspr.bad_setting(
            'churn.observed', observed, 'only one of activity_types (churn is their absence) and observed (churn is a row of a model)'
        ) -%}
    {%- endif -%}
    {%- if types is not none -%}
        {%- do caspr.check_activity_types('churn.activity_types', types) -%}
    {%- endif -%}
    {%- if observed is not none -%}
        {%- do caspr.check_keys('churn.observed', observed, ['model', 'customer_id', 'occurred_at', 'is_churned']) -%}
        {%- if observed.get('is_churned') is not none -%}
            {%- do caspr.check_text('churn.observed.is_churned', observed['is_churned'], 'the name of a boolean column') -%}
        {%- endif -%}
        {%- set observed = {
            'key': 'churn.observed',
            'model': caspr.check_model('churn.observed.model', observed.get('model')),
            'customer_id': caspr.check_key_columns('churn.observed.customer_id', observed.get('customer_id', 'customer_id')),
            'occurred_at': caspr.check_text('churn.observed.occurred_at', observed.get('occurred_at', 'occurred_at'), 'the name of a column'),
            'is_churned': observed.get('is_churned'),
            'attributes': [],
        } -%}
    {%- endif -%}
    {{ return({'activity_types': types, 'observed': observed, 'horizon_days': caspr.horizon_days('churn')}) }}
{% endmacro %}

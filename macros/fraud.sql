{#- Where fraud reports are, checked, or none: then nothing is said of fraud; see _macros.yml. -#}
{% macro fraud() %}
    {%- set given = caspr.setting('fraud') -%}
    {#- An empty mapping says "no fraud", also where the demo shop would bring one. -#}
    {%- if given is none or given == {} -%}
        {{ return(none) }}
    {%- endif -%}
    {%- do caspr.check_keys('fraud', given, caspr.fraud_keys()) -%}
    {%- if given.get('is_fraud') is not none -%}
        {%- do caspr.check_text('fraud.is_fraud', given['is_fraud'], 'the name of a boolean column') -%}
    {%- endif -%}
    {%- set only_reported = given.get('only_reported') or false -%}
    {%- if only_reported is not boolean -%}
        {%- do caspr.bad_setting('fraud.only_reported', only_reported, 'true or false') -%}
    {%- elif only_reported and given.get('is_fraud') is none -%}
        {%- do caspr.bad_setting(
            'fraud.only_reported', only_reported, 'false, unless is_fraud names a boolean column: without it every report is a fraud'
        ) -%}
    {%- endif -%}
    {{ return({
        'key': 'fraud',
        'model': caspr.check_model('fraud.model', given.get('model')),
        'customer_id': caspr.check_key_columns('fraud.customer_id', given.get('customer_id', 'customer_id')),
        'occurred_at': caspr.check_text('fraud.occurred_at', given.get('occurred_at', 'occurred_at'), 'the name of a column'),
        'known_at': caspr.check_text('fraud.known_at', given.get('known_at', 'known_at'), 'the name of a column'),
        'is_fraud': given.get('is_fraud'),
        'only_reported': only_reported,
        'horizon_days': caspr.horizon_days('fraud'),
        'alerts_per_day': 1 if given.get('alerts_per_day') is none
            else caspr.check_positive_integer('fraud.alerts_per_day', given['alerts_per_day']),
        'attributes': [],
    }) }}
{% endmacro %}

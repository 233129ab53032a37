{#- What is recommended and what counts as a purchase, checked: {activity_types, purchases, exclude_bought, horizon_days, item}; see
    _macros.yml. -#}
{% macro recommendation() %}
    {%- set given = caspr.setting('recommendation', {}) -%}
    {%- do caspr.check_keys('recommendation', given, ['activity_types', 'purchases', 'horizon_days', 'exclude_bought']) -%}
    {%- set types, purchases = given.get('activity_types'), given.get('purchases') -%}
    {%- set item = caspr.attribute_with_role('item') -%}
    {%- if types is not none and purchases is not none -%}
        {%- do caspr.bad_setting(
            'recommendation.purchases', purchases,
            'only one of activity_types (purchases are activities) and purchases (purchases are rows of a model)'
        ) -%}
    {%- endif -%}
    {%- if given.get('exclude_bought') is not none and given['exclude_bought'] is not boolean -%}
        {%- do caspr.bad_setting('recommendation.exclude_bought', given['exclude_bought'], 'true or false') -%}
    {%- endif -%}
    {%- if types is not none -%}
        {%- do caspr.check_activity_types('recommendation.activity_types', types) -%}
    {%- endif -%}
    {%- if purchases is not none -%}
        {%- do caspr.check_keys('recommendation.purchases', purchases, ['model', 'customer_id', 'occurred_at', 'item']) -%}
        {%- if caspr.knows_loads() -%}
            {%- do caspr.bad_setting(
                'recommendation.purchases', purchases,
                'no known_at beside it: when these rows were loaded is not known. Take activity_types, or leave known_at out'
            ) -%}
        {%- endif -%}
        {%- set purchases = {
            'key': 'recommendation.purchases',
            'model': caspr.check_model('recommendation.purchases.model', purchases.get('model')),
            'customer_id': caspr.check_key_columns('recommendation.purchases.customer_id', purchases.get('customer_id', 'customer_id')),
            'occurred_at': caspr.check_text(
                'recommendation.purchases.occurred_at', purchases.get('occurred_at', 'occurred_at'), 'the name of a column'
            ),
            'item': caspr.check_text('recommendation.purchases.item', purchases.get('item', 'item'), 'the name of a column'),
            'attributes': [],
        } -%}
    {%- endif -%}
    {{ return({
        'activity_types': types, 'purchases': purchases, 'exclude_bought': given.get('exclude_bought') or false,
        'horizon_days': caspr.horizon_days('recommendation'), 'item': item,
    }) }}
{% endmacro %}

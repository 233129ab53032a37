{#- The configured profile, checked, or none; see _macros.yml. -#}
{% macro profile() %}
    {%- set given = caspr.setting('profile') -%}
    {#- An empty mapping says "no profile", also where the demo shop would bring one. -#}
    {%- if not given -%}
        {{ return(none) }}
    {%- endif -%}
    {%- do caspr.check_keys('profile', given, ['model', 'customer_id', 'attributes']) -%}
    {{ return({
        'key': 'profile',
        'model': caspr.check_text('profile.model', given.get('model'), 'the name of a model, seed or snapshot'),
        'customer_id': caspr.check_text('profile.customer_id', given.get('customer_id', 'customer_id'), 'the name of a column'),
        'attributes': caspr.check_attributes('profile.attributes', given.get('attributes') or [], []),
    }) }}
{% endmacro %}

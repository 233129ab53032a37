{#- The configured profile, checked, or none; see _macros.yml. -#}
{% macro profile() %}
    {%- set given = caspr.setting('profile') -%}
    {#- An empty mapping says "no profile", also where the demo shop would bring one. -#}
    {%- if given is none or given == {} -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set accepted = ['model', 'customer_id', 'valid_from', 'valid_to', 'attributes'] -%}
    {%- if given is not mapping -%}
        {%- do caspr.bad_setting('profile', given, 'a mapping with the keys: ' ~ accepted | join(', ') ~ '; or {} for no profile') -%}
    {%- endif -%}
    {%- do caspr.check_keys('profile', given, accepted) -%}
    {%- for field in ['valid_from', 'valid_to'] if given.get(field) is not none -%}
        {%- do caspr.check_text('profile.' ~ field, given[field], 'the name of a column') -%}
    {%- endfor -%}
    {%- if given.get('valid_to') is not none and given.get('valid_from') is none -%}
        {%- do caspr.bad_setting('profile.valid_from', none, 'the name of a column, because valid_to is ' ~ given['valid_to'] | tojson) -%}
    {%- endif -%}
    {{ return({
        'key': 'profile',
        'model': caspr.check_model('profile.model', given.get('model')),
        'customer_id': caspr.check_key_columns('profile.customer_id', given.get('customer_id', 'customer_id')),
        'valid_from': given.get('valid_from'),
        'valid_to': given.get('valid_to'),
        'attributes': caspr.check_attributes('profile.attributes', given.get('attributes'), 'profile'),
    }) }}
{% endmacro %}

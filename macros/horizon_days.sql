{#- How far the labels of a task look beyond a cutoff, in days; without a task the longest of all; see _macros.yml. -#}
{% macro horizon_days(task=none) %}
    {%- set general = caspr.positive_integer('horizon_days', 90) -%}
    {%- set horizons = {} -%}
    {%- set accepted = {
        'churn': ['activity_types', 'observed', 'horizon_days'],
        'lifetime_value': ['horizon_days'],
        'fraud': caspr.fraud_keys(),
        'recommendation': ['activity_types', 'purchases', 'exclude_bought', 'horizon_days'],
    } -%}
    {%- for name in accepted -%}
        {%- set given = caspr.setting(name, {}) -%}
        {%- do caspr.check_keys(name, given, accepted[name]) -%}
        {#- A recommendation, a fraud that nothing is said of, and a lifetime value without money lengthen nothing by themselves:
            the others say how far the cutoffs lie apart. -#}
        {%- set follows = name == 'recommendation' or (name == 'fraud' and given == {}) or (
            name == 'lifetime_value' and horizons['churn'] < general and caspr.attribute_with_role('monetary') is none
        ) -%}
        {%- do horizons.update({
            name: caspr.check_positive_integer(name ~ '.horizon_days', given['horizon_days'])
                if given.get('horizon_days') is not none
                else [general, horizons.values() | max] | min if follows else general
        }) -%}
    {%- endfor -%}
    {{ return(horizons[task] if task else horizons.values() | max) }}
{% endmacro %}

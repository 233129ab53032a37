{#- The activity types whose absence is churn, or none: then any activity counts. -#}
{% macro churn_activity_types() %}
    {%- set churn = caspr.setting('churn', {}) -%}
    {%- do caspr.check_keys('churn', churn, ['activity_types']) -%}
    {%- set types = churn.get('activity_types') -%}
    {%- if types is none -%}
        {{ return(none) }}
    {%- endif -%}
    {%- if types is string or types is mapping or types is not iterable or not types -%}
        {%- do caspr.bad_setting('churn.activity_types', types, 'a list of activity types such as [order]') -%}
    {%- endif -%}
    {%- for type in types -%}
        {%- do caspr.check_text('churn.activity_types[' ~ loop.index0 ~ ']', type, 'an activity type') -%}
    {%- endfor -%}
    {{ return(types) }}
{% endmacro %}

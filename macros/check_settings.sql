{#- Reads every setting, so that a wrong one stops dbt when it parses this; called on-run-start. -#}
{% macro check_settings() %}
    {%- do caspr.relative_attributes() -%}
    {%- do caspr.content_values() -%}
    {%- do caspr.profile() -%}
    {%- do caspr.churn() -%}
    {%- do caspr.recommendation() -%}
    {%- do caspr.fraud() -%}
    {%- do caspr.at_risk_days() -%}
    {%- do caspr.positive_integer('train_cutoffs', 1) -%}
    {%- do caspr.positive_integer('train_cutoff_step_days', 1) -%}
    {%- do caspr.configured_as_of() -%}
    {%- do caspr.configured_cutoffs() -%}
    {%- do caspr.knows_loads() -%}
    {%- do caspr.possible_times() -%}
    {%- do caspr.history_length() -%}
    {%- do caspr.rfm_period() -%}
    {%- do caspr.champions() -%}
    {%- do caspr.trained_schema() -%}
    {#- Of a task that cannot be asked: they would do nothing, or only move the cutoffs of the other tasks. -#}
    {%- set an_item = 'an attribute of a stream with the role item' -%}
    {%- set needed = {
        'lifetime_value.horizon_days': 'an attribute of a stream with the role monetary',
        'recommendation.horizon_days': an_item ~ ', or recommendation.purchases,',
        'recommendation.activity_types': an_item,
    } -%}
    {%- for key, what in needed.items() -%}
        {%- set task, name = key.split('.') -%}
        {%- set given = none if caspr.is_asked(task) else caspr.setting(task, {}).get(name) -%}
        {%- if given is not none -%}
            {%- do caspr.bad_setting(key, given, what ~ ' beside it: name one, or leave this out') -%}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}

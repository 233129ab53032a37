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
    {#- It would only move the cutoffs of the other tasks. -#}
    {%- set lifetime_value = caspr.setting('lifetime_value', {}) -%}
    {%- if lifetime_value.get('horizon_days') is not none and not caspr.is_asked('lifetime_value') -%}
        {%- do caspr.bad_setting(
            'lifetime_value.horizon_days', lifetime_value.horizon_days,
            'an attribute of a stream with the role monetary beside it, whose sum lifetime value is: name one, or leave the horizon out'
        ) -%}
    {%- endif -%}
{% endmacro %}

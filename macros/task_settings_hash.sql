{#- A short text that changes with every setting that says what a task asks or may look at; see _macros.yml. -#}
{% macro task_settings_hash(task) %}
    {%- set asked = {'churn': caspr.churn(), 'fraud': caspr.fraud(), 'recommendation': caspr.recommendation()} -%}
    {{ return(local_md5(tojson([
        caspr.settings_hash(), caspr.profile(), caspr.rfm_period(), caspr.horizon_days(task), asked.get(task),
    ], sort_keys=true))[:12]) }}
{% endmacro %}

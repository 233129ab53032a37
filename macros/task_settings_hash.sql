{#- A short text that changes with every setting that says what a task asks or may look at; see _macros.yml. -#}
{% macro task_settings_hash(task) %}
    {%- set asked = {'churn': caspr.churn(), 'fraud': caspr.fraud(), 'recommendation': caspr.recommendation()} -%}
    {#- What learners are fitted on. -#}
    {%- set train_cutoffs = (caspr.configured_cutoffs() or []) | selectattr('role', 'equalto', 'train') | map(attribute='cutoff_at') | list -%}
    {%- set count = 1 if train_cutoffs else caspr.positive_integer('train_cutoffs', 1) -%}
    {%- set step = caspr.positive_integer('train_cutoff_step_days', caspr.horizon_days()) if count > 1 else none -%}
    {{ return(local_md5(tojson([
        caspr.settings_hash(), caspr.profile(), caspr.rfm_period(), caspr.horizon_days(task), asked.get(task),
        count, step, train_cutoffs,
    ], sort_keys=true))[:12]) }}
{% endmacro %}

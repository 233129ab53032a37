{#- The cutoffs at which the outcome of a task is known, with the end of its own horizon; see _macros.yml. -#}
{% macro task_cutoffs(task, cutoffs='cutoffs') -%}
    {%- set ends_at -%}
    {{ caspr.add_days('cutoff_at', caspr.horizon_days(task)) }}
    {%- endset -%}
    select
        cutoff_at,
        role,
        {{ ends_at }} as horizon_ends_at,
        as_of
    from {{ cutoffs }}
    where {{ ends_at }} <= as_of
{%- endmacro %}

-- With what each task is predicted: the champion of model_performance, or what the setting `champions` says.
{%- set configured = caspr.champions() %}
{#- `caspr_train score` reads them from here. -#}
{{ config(meta={'champions': configured}) }}

with

model_performance as (
    select * from {{ ref('model_performance') }}
    where is_headline
),

{% if configured -%}
configured as (
    {%- for task, choice in configured.items() %}
    select
        {{ caspr.text_literal(task) }} as task,
        {{ caspr.text_literal(choice.learner) }} as learner,
        {{ caspr.text_literal(choice.representation) }} as representation
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

newest as (
    select
        *,
        rank() over (partition by task order by cutoff_at desc) as recency
    from model_performance
),

{% endif -%}
final as (
    select
        task,
        learner,
        representation,
        cutoff_at,
        metric,
        value,
        standard_error,
        customers,
        false as is_configured
    from model_performance
    where is_champion
    {%- if configured %}
        and task not in (select configured.task from configured)
    union all
    select
        configured.task,
        configured.learner,
        configured.representation,
        newest.cutoff_at,
        newest.metric,
        newest.value,
        newest.standard_error,
        newest.customers,
        true as is_configured
    from configured
    left join newest
        on configured.task = newest.task
        and configured.learner = newest.learner
        and configured.representation = newest.representation
        and newest.recency = 1
    {%- endif %}
)

select
    task,
    learner,
    representation,
    cutoff_at,
    metric,
    value,
    standard_error,
    customers,
    is_configured
from final

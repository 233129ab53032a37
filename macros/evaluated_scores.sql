{#- The scores of all tasks at the evaluate cutoffs beside their outcomes, under each other; see _macros.yml. -#}
{% macro evaluated_scores(kind) -%}
    {%- for one in caspr.measured_scores() if one[kind] %}
    select
        {{ caspr.text_literal(one.task) }} as task,
        {{ caspr.text_literal(one.outcome) }} as outcome_name,
        cutoff_at,
        learner,
        representation,
        customer_id,
        {{ one.score }} as score,
        {% if one.is_probability -%}
        {{ caspr.cast_numerical('case when ' ~ one.outcome ~ ' then 1 else 0 end') }} as outcome
        {%- else -%}
        {{ one.outcome }} as outcome
        {%- endif %}
    from {{ caspr.scored(one.task ~ '_evaluation') }}
    where not is_control
        and {{ one.score }} is not null
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
{%- endmacro %}

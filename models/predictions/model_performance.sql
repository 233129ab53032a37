-- The paper's Tables 4 and 5 in long form: what was measured at the evaluate cutoffs, all tasks under each other.
{%- set columns = caspr.performance_columns().keys() | list %}

with

customer_embeddings as (
    select * from {{ ref('customer_embeddings') }}
),

measured as (
    {%- for task in caspr.tasks() %}
    select
        {{ columns | join(',\n        ') }}
    from {{ caspr.scored(task ~ '_performance') }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

-- `caspr_train evaluate` measures the same over several seeds; it counts for as long as its model is the newest and the
-- task asks the same.
evaluations as (
    select * from {{ source('caspr_trained', 'model_evaluations') }}
    where model_version in (select customer_embeddings.model_version from customer_embeddings)
        and (
            {%- for task in caspr.tasks() %}
            {{ 'or ' if not loop.first }}(
                task = {{ caspr.text_literal(task) }}
                and settings_hash = {{ caspr.text_literal(caspr.task_settings_hash(task)) }}
            )
            {%- endfor %}
        )
),

-- The champion stands at the newest cutoff of its measuring: an evaluation made before the cutoffs moved would name a second one.
{% for rows in ['measured', 'evaluations'] -%}
dated_{{ rows }} as (
    select
        *,
        max(cutoff_at) over (partition by task) as newest_cutoff_at
    from {{ rows }}
),

{% endfor -%}
evaluated as (
    select * from dated_evaluations
    where exists (
        select 1
        from dated_measured
        where dated_measured.task = dated_evaluations.task
            and dated_measured.cutoff_at = dated_evaluations.cutoff_at
            and dated_measured.newest_cutoff_at = dated_evaluations.newest_cutoff_at
    )
),

measured_once as (
    select * from dated_measured
    where not exists (
        select 1
        from evaluated
        where evaluated.task = dated_measured.task
            and evaluated.cutoff_at = dated_measured.cutoff_at
    )
),

final as (
    {%- for rows in ['measured_once', 'evaluated'] %}
    select
        {{ columns | join(',\n        ') }}
    from {{ rows }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select
    {{ columns | join(',\n    ') }}
from final

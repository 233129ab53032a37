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

-- `caspr_train evaluate` measures the same over several seeds; it counts for as long as its model is the newest.
evaluations as (
    select * from {{ source('caspr_trained', 'model_evaluations') }}
    where model_version in (select customer_embeddings.model_version from customer_embeddings)
),

measured_once as (
    select * from measured
    where not exists (
        select 1
        from evaluations
        where evaluations.task = measured.task
            and evaluations.cutoff_at = measured.cutoff_at
    )
),

final as (
    {%- for rows in ['measured_once', 'evaluations'] %}
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

-- How many customers have a label of each task at each cutoff: from it follows what share of them is fitted and measured on.
{%- set counted = ['churn', 'lifetime_value', 'fraud'] %}

with

{%- for task in counted %}

{{ task }}_labels as (
    select cutoff_at from {{ ref(task ~ '_labels') }}
),
{%- endfor %}

final as (
    {%- for task in counted %}
    select
        {{ caspr.text_literal(task) }} as task,
        cutoff_at,
        count(*) as customers
    from {{ task }}_labels
    group by cutoff_at
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select
    task,
    cutoff_at,
    customers
from final

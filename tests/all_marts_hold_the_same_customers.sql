-- One population: every customer with an activity before a cutoff is in every table of that cutoff, and nobody else.
-- Sequences, counted by the last position's row, say who that is.
with

customers as (
    select customer_id, cutoff_at
    from {{ ref('activity_sequences') }}
    where recency_rank = 1
),

labelled as (
    select customers.customer_id, customers.cutoff_at
    from customers
    inner join {{ ref('cutoffs') }} as cutoffs on customers.cutoff_at = cutoffs.cutoff_at
    where cutoffs.has_labels
),

differences as (
    {%- for mart in ['customer_profiles', 'rfm_features', 'churn_labels', 'lifetime_value_labels'] %}
    {%- set expected = 'labelled' if mart.endswith('labels') else 'customers' %}
    select
        '{{ mart }}' as mart,
        coalesce(expected.customer_id, found.customer_id) as customer_id,
        coalesce(expected.cutoff_at, found.cutoff_at) as cutoff_at,
        case when found.customer_id is null then 'missing' else 'too many' end as difference
    from {{ expected }} as expected
    full outer join {{ ref(mart) }} as found
        on expected.customer_id = found.customer_id and expected.cutoff_at = found.cutoff_at
    where expected.customer_id is null or found.customer_id is null
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select
    mart,
    customer_id,
    cutoff_at,
    difference
from differences

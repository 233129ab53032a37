-- One population: the pairs of customer_cutoffs are in every table of customers, and no others.
-- Labels hold a part of them; none of their pairs is unknown. customers_without_activity has the others, and none of them.
with

customers as (
    select
        customer_id,
        cutoff_at
    from {{ ref('customer_cutoffs') }}
),

sequences as (
    select
        customer_id,
        cutoff_at
    from {{ ref('activity_sequences') }}
    where recency_rank = 1
),

differences as (
    {%- for mart in [
        'sequences', 'customer_profiles', 'rfm_features', 'rfm_scores', 'content_features', 'churn_labels', 'lifetime_value_labels',
        'fraud_labels',
    ] %}
    select
        '{{ mart }}' as mart,
        coalesce(expected.customer_id, found.customer_id) as customer_id,
        coalesce(expected.cutoff_at, found.cutoff_at) as cutoff_at,
        case when found.customer_id is null then 'missing' else 'too many' end as difference
    from customers as expected
    full outer join {{ mart if mart == 'sequences' else ref(mart) }} as found
        on expected.customer_id = found.customer_id and expected.cutoff_at = found.cutoff_at
    where expected.customer_id is null
        {%- if not mart.endswith('labels') %}
        or found.customer_id is null
        {%- endif %}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
    union all
    select
        'customers_without_activity' as mart,
        found.customer_id,
        found.cutoff_at,
        'too many' as difference
    from customers as expected
    inner join {{ ref('customers_without_activity') }} as found
        on expected.customer_id = found.customer_id and expected.cutoff_at = found.cutoff_at
)

select
    mart,
    customer_id,
    cutoff_at,
    difference
from differences

-- What each customer bought within the horizon, item by item, whether or not it had been bought before.
with

activity_log as (
    select * from {{ ref('activity_log') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
    where is_at_risk
),

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

recommendation_cutoffs as (
    {{ caspr.task_cutoffs('recommendation') | indent(4) }}
),

purchases as (
    {{ caspr.purchases() | indent(4) }}
),

final as (
    select
        customer_cutoffs.customer_id,
        customer_cutoffs.cutoff_at,
        purchases.item,
        min(purchases.occurred_at) as first_purchased_at
    from customer_cutoffs
    inner join recommendation_cutoffs on customer_cutoffs.cutoff_at = recommendation_cutoffs.cutoff_at
    inner join purchases
        on customer_cutoffs.customer_id = purchases.customer_id
        and {{ caspr.within_horizon(
            'purchases.occurred_at', 'recommendation_cutoffs.cutoff_at', 'recommendation_cutoffs.horizon_ends_at'
        ) }}
    group by customer_cutoffs.customer_id, customer_cutoffs.cutoff_at, purchases.item
)

select
    customer_id,
    cutoff_at,
    item,
    first_purchased_at
from final

-- What the champion recommends to every customer.
with

scores as (
    select * from {{ caspr.scored('recommendation_scores') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

customers_without_activity as (
    select * from {{ ref('customers_without_activity') }}
),

customers as (
    {{ caspr.scored_customers() | indent(4) }}
),

final as (
    select
        scores.customer_id,
        scores.cutoff_at,
        cast(scores.rank as integer) as rank,
        scores.item,
        scores.score,
        scores.reason,
        customers.has_activity,
        scores.representation
    from scores
    inner join customers
        on scores.customer_id = customers.customer_id
        and scores.cutoff_at = customers.cutoff_at
)

select
    customer_id,
    cutoff_at,
    rank,
    item,
    score,
    reason,
    has_activity,
    representation
from final

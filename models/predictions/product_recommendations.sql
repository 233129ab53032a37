-- What the champion recommends to every customer.
with

scores as (
    select * from {{ caspr.scored('recommendation_scores') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

final as (
    select
        scores.customer_id,
        scores.cutoff_at,
        cast(scores.rank as integer) as rank,
        scores.item,
        scores.score,
        scores.reason,
        scores.representation
    from scores
    inner join customer_cutoffs
        on scores.customer_id = customer_cutoffs.customer_id
        and scores.cutoff_at = customer_cutoffs.cutoff_at
)

select
    customer_id,
    cutoff_at,
    rank,
    item,
    score,
    reason,
    representation
from final

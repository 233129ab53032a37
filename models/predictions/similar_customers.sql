-- Who is like whom, of those who are customers still.
with

nearest as (
    select * from {{ caspr.scored('nearest_customers') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

final as (
    select
        nearest.customer_id,
        nearest.cutoff_at,
        nearest.similarity_rank,
        nearest.similar_customer_id,
        nearest.cosine
    from nearest
    inner join customer_cutoffs as customers
        on nearest.customer_id = customers.customer_id
        and nearest.cutoff_at = customers.cutoff_at
    inner join customer_cutoffs as neighbours
        on nearest.similar_customer_id = neighbours.customer_id
        and nearest.cutoff_at = neighbours.cutoff_at
)

select
    customer_id,
    cutoff_at,
    similarity_rank,
    similar_customer_id,
    cosine
from final

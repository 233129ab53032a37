-- The trainer's newest customer vectors, as the typed face that models and people read. Who is no customer any more has none.
with

loaded as (
    select * from {{ source('caspr_trained', 'customer_embeddings') }}
),

customers as (
    select distinct customer_id from {{ ref('customer_cutoffs') }}
),

final as (
    select
        loaded.customer_id,
        loaded.cutoff_at,
        loaded.model_version,
        loaded.embedding,
        loaded.embedded_at
    from loaded
    inner join customers on loaded.customer_id = customers.customer_id
    where loaded.model_version in ({{ caspr.newest_model_version() }})
)

select
    customer_id,
    cutoff_at,
    model_version,
    embedding,
    embedded_at
from final

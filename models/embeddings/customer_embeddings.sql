-- The trainer's customer vectors, as the typed face that models and people read.
with

loaded as (
    select * from {{ source('caspr_trained', 'customer_embeddings') }}
),

final as (
    select
        customer_id,
        cutoff_at,
        model_version,
        embedding,
        embedded_at
    from loaded
)

select
    customer_id,
    cutoff_at,
    model_version,
    embedding,
    embedded_at
from final

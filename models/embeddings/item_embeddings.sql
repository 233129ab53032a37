-- The trainer's item vectors, as the typed face that models and people read.
with

loaded as (
    select * from {{ source('caspr_trained', 'item_embeddings') }}
),

final as (
    select
        item,
        model_version,
        embedding,
        embedded_at
    from loaded
)

select
    item,
    model_version,
    embedding,
    embedded_at
from final

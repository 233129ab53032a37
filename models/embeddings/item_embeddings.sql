-- The trainer's newest item vectors, of one version with the customers' vectors, as the typed face that models and people read.
with

loaded as (
    select * from {{ source('caspr_trained', 'item_embeddings') }}
),

final as (
    select
        item,
        model_version,
        embedding,
        bias,
        embedded_at
    from loaded
    where model_version in ({{ caspr.newest_model_version() }})
)

select
    item,
    model_version,
    embedding,
    bias,
    embedded_at
from final

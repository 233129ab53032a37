-- The vectors that an embedding must beat, of the version that customer_embeddings shows.
with

loaded as (
    select * from {{ source('caspr_trained', 'control_embeddings') }}
),

final as (
    select
        customer_id,
        cutoff_at,
        model_version,
        control,
        embedding
    from loaded
    where model_version in ({{ caspr.newest_model_version() }})
)

select
    customer_id,
    cutoff_at,
    model_version,
    control,
    embedding
from final

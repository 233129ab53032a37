-- The vectors that an embedding must beat, of the version that customer_embeddings shows. Who is no customer any more has none.
with

loaded as (
    select * from {{ source('caspr_trained', 'control_embeddings') }}
),

customers as (
    select distinct customer_id from {{ ref('customer_cutoffs') }}
),

final as (
    select
        loaded.customer_id,
        loaded.cutoff_at,
        loaded.model_version,
        loaded.control,
        loaded.embedding
    from loaded
    inner join customers on loaded.customer_id = customers.customer_id
    where loaded.model_version in ({{ caspr.newest_model_version() }})
)

select
    customer_id,
    cutoff_at,
    model_version,
    control,
    embedding
from final

-- What is known of accounts, at the end of the file: the labels have no time of their own.
with

labels as (
    select * from {{ source('rev2', 'labels') }}
),

last_rating as (
    select max(rated_at) as rated_at from {{ ref('stg_ratings') }}
),

final as (
    select
        cast(labels.account as varchar) as account,
        labels.label = -1 as is_fraud,
        last_rating.rated_at as occurred_at,
        last_rating.rated_at as known_at
    from labels
    cross join last_rating
)

select
    account,
    is_fraud,
    occurred_at,
    known_at
from final

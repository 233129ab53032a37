-- The activities, twice used: once for the account that rates, once for the one that is rated.
-- Without the ratings that made the labels. Trusted are the accounts that the site's founder and those whom he trusts rated 5 or more,
-- fraudulent are those that a trusted account rated -5 or less: with these ratings among the features a label would be read off.
with

source as (
    select * from {{ source('rev2', 'ratings') }}
),

labels as (
    select * from {{ source('rev2', 'labels') }}
),

labelling as (
    select source.src, source.dst
    from source
    inner join labels as raters
        on source.src = raters.account and raters.label = 1
    inner join labels as rated on source.dst = rated.account
    where abs(source.rating) >= 5
),

final as (
    select
        cast(source.src as varchar) || '-' || cast(source.dst as varchar) as rating_id,
        cast(source.src as varchar) as rater,
        cast(source.dst as varchar) as rated,

        source.rating,

        make_timestamp(cast(round(cast(source.ts as double) * 1000000) as bigint)) as rated_at
    from source
    left join labelling
        on source.src = labelling.src and source.dst = labelling.dst
    where labelling.src is null
)

select
    rating_id,
    rater,
    rated,
    rating,
    rated_at
from final

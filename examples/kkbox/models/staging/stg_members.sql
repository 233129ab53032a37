-- The profile.
with

source as (
    select * from {{ source('kaggle', 'members_v3') }}
),

final as (
    select
        msno as member_id,

        city,
        gender,
        registered_via,

        -- Typed in by the members: 0, 1030 and -43 are nobody's age.
        case when cast(bd as integer) between 10 and 100 then cast(bd as integer) end as age
    from source
)

select
    member_id,
    city,
    gender,
    registered_via,
    age
from final

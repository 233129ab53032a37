-- The second stream: what a member heard on one day.
with

source as (
    select * from {{ source('kaggle', 'user_logs') }}
),

renamed as (
    select
        msno as member_id,

        cast(num_25 as bigint) + cast(num_50 as bigint) + cast(num_75 as bigint) + cast(num_985 as bigint)
            + cast(num_100 as bigint) as songs,
        cast(num_100 as bigint) as completed_songs,
        cast(num_unq as bigint) as unique_songs,
        cast(total_secs as double) as seconds,

        strptime(date, '%Y%m%d') as listened_at
    from source
),

final as (
    select
        member_id,

        songs,
        unique_songs,
        round(completed_songs / nullif(songs, 0), 4) as completed_share,
        -- A day has 86,400 seconds; anything else was counted wrongly.
        case when seconds between 0 and 86400 then round(seconds / 3600, 4) end as hours,

        listened_at
    from renamed
)

select
    member_id,
    songs,
    unique_songs,
    completed_share,
    hours,
    listened_at
from final

-- The profile: what the first visit tells, which is known at every cutoff that knows the visitor at all.
with

visits as (
    select * from {{ ref('stg_visits') }}
),

final as (
    select
        visitor_id,
        channel as first_channel,
        continent,
        country
    from visits
    qualify row_number() over (partition by visitor_id order by visited_at, session_id) = 1
)

select
    visitor_id,
    first_channel,
    continent,
    country
from final

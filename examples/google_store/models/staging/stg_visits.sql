-- The activities: one visit. A visit that goes on past midnight of the shop's zone stands in two rows; it is put together again.
-- Its sums are dated at its start, though they are known only at its end; visits are short.
with

source as (
    select * from {{ source('kaggle', 'train') }}
),

renamed as (
    select
        sessionId as session_id,
        fullVisitorId as visitor_id,

        channelGrouping as channel,
        {{ known('trafficSource', 'source') }} as source,
        {{ known('trafficSource', 'medium') }} as medium,
        {{ known('device', 'deviceCategory') }} as device_category,
        {{ known('device', 'browser') }} as browser,
        {{ known('device', 'operatingSystem') }} as operating_system,
        {{ known('geoNetwork', 'continent') }} as continent,
        {{ known('geoNetwork', 'country') }} as country,

        cast(visitNumber as integer) as visit_number,
        cast({{ known('totals', 'hits') }} as integer) as hits,
        cast({{ known('totals', 'pageviews') }} as integer) as pageviews,
        cast({{ known('totals', 'transactionRevenue') }} as bigint) as revenue_micros,

        coalesce({{ known('totals', 'bounces') }} = '1', false) as is_bounce,

        make_timestamp(cast(visitStartTime as bigint) * 1000000) as visited_at
    from source
),

-- The first row says how the visit began, the sums are over all of its rows.
sessions as (
    select
        session_id,
        visitor_id,
        channel,
        source,
        medium,
        device_category,
        browser,
        operating_system,
        continent,
        country,
        visit_number,
        sum(hits) over session as hits,
        sum(pageviews) over session as pageviews,
        sum(revenue_micros) over session as revenue_micros,
        bool_and(is_bounce) over session as is_bounce,
        visited_at
    from renamed
    window session as (partition by session_id)
    qualify row_number() over (partition by session_id order by visited_at, hits desc) = 1
),

final as (
    select
        session_id,
        visitor_id,

        case when revenue_micros > 0 then 'purchase' else 'visit' end as activity_type,
        channel,
        source,
        medium,
        device_category,
        browser,
        operating_system,
        continent,
        country,

        visit_number,
        cast(hits as bigint) as hits,
        cast(pageviews as bigint) as pageviews,
        -- Null, not 0, where nothing was bought: then no money moved.
        cast(revenue_micros as double) / 1e6 as revenue,

        is_bounce,

        visited_at
    from sessions
)

select
    session_id,
    visitor_id,
    activity_type,
    channel,
    source,
    medium,
    device_category,
    browser,
    operating_system,
    continent,
    country,
    visit_number,
    hits,
    pageviews,
    revenue,
    is_bounce,
    visited_at
from final

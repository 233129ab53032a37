-- A revenue of 0 would count as a purchase in the features on money.
select
    session_id,
    revenue
from {{ ref('stg_visits') }}
where revenue <= 0 or not isfinite(revenue)

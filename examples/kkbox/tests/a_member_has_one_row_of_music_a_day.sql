-- Two rows of one day would share their activity id, and one of them would be lost.
select
    member_id,
    listened_at
from {{ ref('stg_listening_days') }}
group by member_id, listened_at
having count(*) > 1

-- A warning where every row of every stream is rejected, with the reasons: then all marts are empty. An as_of before the first
-- activity does it.
{{ config(severity='warn') }}
select
    rejection,
    count(*) as activity_count,
    min(occurred_at) as first_at,
    max(occurred_at) as last_at
from {{ ref('rejected_activities') }}
where not exists (select 1 from {{ ref('activity_log') }})
group by rejection

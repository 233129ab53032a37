-- A listed cutoff after as_of would see a history that is not complete yet.
with

known_until as (
    select {{ caspr.as_of() }} as as_of
    from {{ ref('activity_log') }}
    -- an aggregate also where as_of is a constant: one row, or none without any activity
    having count(occurred_at) > 0
)

select
    cutoffs.cutoff_at,
    known_until.as_of
from {{ ref('cutoffs') }} as cutoffs
cross join known_until
where cutoffs.cutoff_at > known_until.as_of

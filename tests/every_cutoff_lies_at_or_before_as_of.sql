-- A listed cutoff after as_of would see a history that is not complete yet.
with

known_until as (
    select {{ caspr.as_of() }} as as_of
    from {{ ref('activity_log') }}
)

select
    cutoffs.cutoff_at,
    known_until.as_of
from {{ ref('cutoffs') }} as cutoffs
cross join known_until
where cutoffs.cutoff_at > known_until.as_of

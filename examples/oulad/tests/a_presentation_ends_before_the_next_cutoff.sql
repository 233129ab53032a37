-- Students of an earlier presentation must have their outcome before a later cutoff: else they would be asked again there.
select
    presentations.code_module,
    presentations.code_presentation,
    presentations.ended_at,
    cutoffs.cutoff_at
from {{ ref('stg_presentations') }} as presentations
inner join {{ ref('cutoffs') }} as cutoffs
    -- its own cutoff is that of day 60
    on cutoffs.cutoff_at > presentations.started_at + interval 60 days
where presentations.ended_at >= cutoffs.cutoff_at

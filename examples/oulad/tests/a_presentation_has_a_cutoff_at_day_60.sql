-- The cutoffs of the settings are written as dates; this holds them to the starts.
select
    presentations.code_module,
    presentations.code_presentation
from {{ ref('stg_presentations') }} as presentations
left join {{ ref('cutoffs') }} as cutoffs on cutoffs.cutoff_at = presentations.started_at + interval 60 days
where cutoffs.cutoff_at is null

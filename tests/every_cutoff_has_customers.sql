-- A warning that names the cutoffs before which nothing happened: they have no row in any mart, and without a train cutoff
-- nothing can be fitted. The column `mend` says which settings move them.
{{ config(severity='warn') }}

with

customer_cutoffs as (
    select distinct cutoff_at from {{ ref('customer_cutoffs') }}
)

select
    cutoffs.cutoff_at,
    cutoffs.role,
    {%- if caspr.configured_cutoffs() %}
    'cutoffs: later ones' as mend
    {%- else %}
    'horizon_days: fewer; train_cutoffs: fewer; as_of: later' as mend
    {%- endif %}
from {{ ref('cutoffs') }} as cutoffs
left join customer_cutoffs on cutoffs.cutoff_at = customer_cutoffs.cutoff_at
where customer_cutoffs.cutoff_at is null

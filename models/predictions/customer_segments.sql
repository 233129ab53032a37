-- Which segment each customer belongs to, of those who are customers still.
with

assignments as (
    select * from {{ caspr.scored('segment_assignments') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

final as (
    select
        assignments.customer_id,
        assignments.cutoff_at,
        assignments.segment
    from assignments
    inner join customer_cutoffs
        on assignments.customer_id = customer_cutoffs.customer_id
        and assignments.cutoff_at = customer_cutoffs.cutoff_at
)

select
    customer_id,
    cutoff_at,
    segment
from final

-- A later position is never an earlier moment.
select
    later.customer_id,
    later.cutoff_at,
    later.position
from {{ ref('activity_sequences') }} as later
inner join {{ ref('activity_sequences') }} as earlier
    on later.customer_id = earlier.customer_id
    and later.cutoff_at = earlier.cutoff_at
    and later.position = earlier.position + 1
where later.occurred_at < earlier.occurred_at
    or later.seconds_before_cutoff > earlier.seconds_before_cutoff

-- How many customers each cutoff has: from it follows what share of them takes part in measuring.
with

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

final as (
    select
        cutoff_at,
        count(*) as customers
    from customer_cutoffs
    group by cutoff_at
)

select
    cutoff_at,
    customers
from final

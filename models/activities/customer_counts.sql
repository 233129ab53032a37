-- How many customers each cutoff has: from it follows what share of them takes part in measuring.
with

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

customers_without_activity as (
    select * from {{ ref('customers_without_activity') }}
),

customers as (
    select
        cutoff_at,
        count(*) as customers
    from customer_cutoffs
    group by cutoff_at
),

without_activity as (
    select
        cutoff_at,
        count(*) as customers_without_activity
    from customers_without_activity
    group by cutoff_at
),

final as (
    select
        customers.cutoff_at,
        customers.customers,
        coalesce(without_activity.customers_without_activity, 0) as customers_without_activity
    from customers
    left join without_activity on customers.cutoff_at = without_activity.cutoff_at
)

select
    cutoff_at,
    customers,
    customers_without_activity
from final

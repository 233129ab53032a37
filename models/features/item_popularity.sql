-- How many customers had bought an item before a cutoff, ever and lately: what is recommended to whom nobody knows.
with

purchase_history as (
    select * from {{ ref('purchase_history') }}
),

final as (
    select
        cutoff_at,
        item,
        count(*) as customers,
        sum(
            case
                when last_purchased_at >= {{ caspr.add_days('cutoff_at', -caspr.recommendation().horizon_days) }} then 1
                else 0
            end
        ) as recent_customers
    from purchase_history
    group by cutoff_at, item
)

select
    cutoff_at,
    item,
    cast(customers as {{ dbt.type_bigint() }}) as customers,
    cast(recent_customers as {{ dbt.type_bigint() }}) as recent_customers
from final

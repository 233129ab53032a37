-- The activities: what a customer bought on one day. The file has no order numbers and no time of day, so two lines of one day
-- cannot be told from one order (69,659 lines, 67,591 days).
with

source as (
    select * from {{ source('brucehardie', 'cdnow') }}
),

renamed as (
    select
        customer_id,

        n_cds as cds,
        -- Exact: sums of decimals do not depend on their order.
        cast(amount as decimal(18, 2)) as amount,

        cast(date as timestamp) as purchased_at
    from source
),

days as (
    select
        customer_id,
        sum(cds) as cds,
        sum(amount) as amount,
        purchased_at
    from renamed
    group by customer_id, purchased_at
),

final as (
    select
        customer_id || '-' || strftime(purchased_at, '%Y%m%d') as purchase_id,
        customer_id,

        cast(cds as bigint) as cds,
        cast(amount as double) as amount,

        purchased_at
    from days
)

select
    purchase_id,
    customer_id,
    cds,
    amount,
    purchased_at
from final

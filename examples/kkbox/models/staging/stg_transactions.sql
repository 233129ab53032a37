-- The first stream: payments and cancellations. The file has neither an id nor a time of day.
with

source as (
    select * from {{ source('kaggle', 'transactions') }}
),

renamed as (
    select
        msno as member_id,

        payment_method_id as payment_method,

        cast(payment_plan_days as integer) as plan_days,
        cast(plan_list_price as double) as list_price,
        cast(actual_amount_paid as double) as amount_paid,

        is_auto_renew = '1' as is_auto_renew,
        is_cancel = '1' as is_cancel,

        strptime(transaction_date, '%Y%m%d') as transacted_at,
        strptime(membership_expire_date, '%Y%m%d') as published_expires_at
    from source
),

final as (
    select
        member_id,
        -- Counts the rows of a member's day. Equal rows stay, and it does not matter which of them is which.
        row_number() over (
            partition by member_id, transacted_at
            order by is_cancel, published_expires_at, payment_method, plan_days, list_price, amount_paid, is_auto_renew
        ) as daily_number,

        case when is_cancel then 'cancellation' else 'subscription' end as activity_type,
        payment_method,

        plan_days,
        -- A cancellation repeats the price of what it cancels, and nobody says whether money flows back. So it moves none here.
        case when not is_cancel then amount_paid end as paid,
        list_price - amount_paid as discount,
        -- A membership cannot have ended before it is paid.
        date_diff('day', transacted_at, greatest(published_expires_at, transacted_at)) as days_left,

        is_auto_renew,
        is_cancel,

        transacted_at,
        greatest(published_expires_at, transacted_at) as expires_at
    from renamed
)

select
    member_id,
    daily_number,
    activity_type,
    payment_method,
    plan_days,
    paid,
    discount,
    days_left,
    is_auto_renew,
    is_cancel,
    transacted_at,
    expires_at
from final

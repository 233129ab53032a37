-- The activities: one order. The files have no dates, only the days between the orders of a user, so the clock is made here.
-- It is counted back from the user's last order, which falls on 2016-12-31 for everybody: that is where the file stops looking, so every
-- window before it was wholly observed. Counted forward from the first order, a user would seem lost where only the file ends.
-- A distance of 30 days means 30 or more, so long histories are longer than the clock says.
with

source as (
    select * from {{ source('kaggle', 'orders') }}
),

order_products as (
    select * from {{ ref('stg_order_products') }}
),

renamed as (
    select
        order_id,
        user_id,

        eval_set,
        order_dow as day_of_week,
        order_hour_of_day as hour_of_day,

        cast(order_number as integer) as order_number,
        cast(cast(days_since_prior_order as double) as integer) as days_since_previous
    from source
),

-- The days of all later orders: zero for the last one.
counted_back as (
    select
        *,
        coalesce(
            sum(days_since_previous) over (
                partition by user_id
                order by order_number desc
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) as days_before_last
    from renamed
),

aisles_of_orders as (
    select
        order_id,
        aisle,
        department,
        count(*) as products
    from order_products
    group by order_id, aisle, department
),

-- The aisle with the most products of the order; of equal ones the first by name, so that every run takes the same.
lead_aisles as (
    select
        order_id,
        aisle as lead_aisle,
        department as lead_department
    from aisles_of_orders
    qualify row_number() over (partition by order_id order by products desc, aisle) = 1
),

baskets as (
    select
        order_id,
        max(case when cart_position = 1 then product_id end) as first_product,
        count(*) as products,
        count(distinct department) as departments,
        avg(case when is_reordered then 1.0 else 0.0 end) as reordered_share
    from order_products
    group by order_id
),

final as (
    select
        counted_back.order_id,
        counted_back.user_id,

        counted_back.eval_set,
        counted_back.day_of_week,
        counted_back.hour_of_day,
        baskets.first_product,
        lead_aisles.lead_aisle,
        lead_aisles.lead_department,

        counted_back.order_number,
        baskets.products,
        baskets.departments,
        round(baskets.reordered_share, 4) as reordered_share,

        timestamp '2016-12-31'
            - to_days(cast(counted_back.days_before_last as integer))
            + to_hours(cast(counted_back.hour_of_day as integer)) as ordered_at
    from counted_back
    left join baskets on counted_back.order_id = baskets.order_id
    left join lead_aisles on counted_back.order_id = lead_aisles.order_id
)

select
    order_id,
    user_id,
    eval_set,
    day_of_week,
    hour_of_day,
    first_product,
    lead_aisle,
    lead_department,
    order_number,
    products,
    departments,
    reordered_share,
    ordered_at
from final

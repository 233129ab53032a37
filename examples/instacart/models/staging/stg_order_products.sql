-- What was in the orders. Nothing is known of the orders of eval_set test.
with

prior_products as (
    select * from {{ source('kaggle', 'order_products__prior') }}
),

train_products as (
    select * from {{ source('kaggle', 'order_products__train') }}
),

products as (
    select * from {{ source('kaggle', 'products') }}
),

aisles as (
    select * from {{ source('kaggle', 'aisles') }}
),

departments as (
    select * from {{ source('kaggle', 'departments') }}
),

order_products as (
    select order_id, product_id, add_to_cart_order, reordered from prior_products
    union all
    select order_id, product_id, add_to_cart_order, reordered from train_products
),

final as (
    select
        order_products.order_id,
        order_products.product_id,

        aisles.aisle,
        departments.department,

        cast(order_products.add_to_cart_order as integer) as cart_position,

        order_products.reordered = '1' as is_reordered
    from order_products
    left join products on order_products.product_id = products.product_id
    left join aisles on products.aisle_id = aisles.aisle_id
    left join departments on products.department_id = departments.department_id
)

select
    order_id,
    product_id,
    aisle,
    department,
    cart_position,
    is_reordered
from final

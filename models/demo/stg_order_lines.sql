with orders as (
    select * from {{ ref('raw_orders') }}
),

order_lines as (
    select * from {{ ref('raw_order_lines') }}
),

ranked_orders as (
    select
        *,
        row_number() over (
            partition by order_id
            order by
                case when loaded_at is null then 1 else 0 end asc,
                loaded_at desc,
                -- from here on only so that a tie falls the same way on every run
                ordered_at asc,
                customer_id asc,
                kind asc,
                payment_method asc
        ) as load_rank
    from orders
    where order_id is not null
),

latest_orders as (
    select * from ranked_orders
    where load_rank = 1
),

-- lines carry no moment of loading: a line that comes twice is a copy
ranked_lines as (
    select
        *,
        row_number() over (
            partition by order_id, line_number
            order by
                product_id,
                category,
                quantity,
                unit_price
        ) as copy_rank
    from order_lines
    where order_id is not null
        and line_number is not null
),

distinct_lines as (
    select * from ranked_lines
    where copy_rank = 1
),

final as (
    select
        distinct_lines.order_id || '-' || cast(distinct_lines.line_number as {{ dbt.type_string() }}) as order_line_id,
        latest_orders.customer_id,

        latest_orders.kind as activity_type,
        distinct_lines.product_id as product,
        distinct_lines.category,
        latest_orders.payment_method,

        distinct_lines.quantity,
        cast(distinct_lines.quantity * distinct_lines.unit_price as decimal(12, 2)) as amount,

        cast(latest_orders.ordered_at as timestamp) as ordered_at
    from distinct_lines
    inner join latest_orders
        on distinct_lines.order_id = latest_orders.order_id
)

select * from final

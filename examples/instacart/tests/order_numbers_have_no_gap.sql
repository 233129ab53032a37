-- The clock is a sum over the orders of a user: a missing order would shift all earlier ones unseen.
select user_id
from {{ ref('stg_orders') }}
group by user_id
having min(order_number) != 1 or max(order_number) != count(*) or count(distinct order_number) != count(*)

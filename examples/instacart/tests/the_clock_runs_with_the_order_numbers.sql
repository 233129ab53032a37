-- Two orders of one day must not be turned round by the hour. Such a pair would have swapped its places in the sequence.
select
    user_id,
    order_number,
    ordered_at
from {{ ref('stg_orders') }}
qualify ordered_at < lag(ordered_at) over (partition by user_id order by order_number)

-- The file is one cohort. Whoever begins later or earlier would make the calibration that ends with 1997-09-30 another one.
select
    customer_id,
    min(purchased_at) as first_purchased_at
from {{ ref('stg_purchases') }}
group by customer_id
having min(purchased_at) not between timestamp '1997-01-01' and timestamp '1997-03-31'

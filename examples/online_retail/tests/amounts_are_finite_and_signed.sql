-- Money comes in with a purchase and goes out with a cancellation; anything else would turn revenue on its head unseen.
select
    invoice_no,
    activity_type,
    amount,
    quantity,
    mean_unit_price
from {{ ref('stg_invoices') }}
where not isfinite(amount)
    or not isfinite(mean_unit_price)
    or mean_unit_price < 0
    or (activity_type = 'purchase' and (amount <= 0 or quantity <= 0))
    or (activity_type = 'cancellation' and (amount >= 0 or quantity >= 0))

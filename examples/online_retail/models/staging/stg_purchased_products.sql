-- What is recommended: every product on an invoice of a purchase, not only the leading one.
with

invoice_lines as (
    select * from {{ ref('stg_invoice_lines') }}
    where dropped_because is null
        and not is_cancellation
),

final as (
    select
        customer_id,
        invoiced_at,
        product
    from invoice_lines
)

select
    customer_id,
    invoiced_at,
    product
from final

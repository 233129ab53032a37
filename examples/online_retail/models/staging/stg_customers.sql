-- The profile. 12 customers have invoices from two countries; the first one is known at every cutoff that knows the customer at all,
-- a later one would be told too early.
with

invoices as (
    select * from {{ ref('stg_invoices') }}
),

final as (
    select
        customer_id,
        nullif(country, 'Unspecified') as country
    from invoices
    qualify row_number() over (partition by customer_id order by invoiced_at, invoice_no) = 1
)

select
    customer_id,
    country
from final

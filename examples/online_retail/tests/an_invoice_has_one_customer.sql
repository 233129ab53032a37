-- stg_invoices groups by customer and country as well: with two of either, the invoice would fall in two.
select invoice_no
from {{ ref('stg_invoice_lines') }}
group by invoice_no
having count(distinct customer_id) > 1 or count(distinct country) > 1 or count(customer_id) not in (0, count(*))

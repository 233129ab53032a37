-- An invoice that comes from two sheets would count twice.
select invoice_no
from {{ ref('stg_invoice_lines') }}
group by invoice_no
having count(distinct sheet) > 1

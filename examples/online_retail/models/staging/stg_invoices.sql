-- The activities: one invoice, a purchase or a cancellation, made of the lines that are left.
with

invoice_lines as (
    select * from {{ ref('stg_invoice_lines') }} where dropped_because is null
),

products_of_invoices as (
    select
        invoice_no,
        product,
        sum(abs(amount)) as turnover
    from invoice_lines
    group by invoice_no, product
),

-- The product that says most about the invoice: the one with the most money. Of equal ones the smallest code, so that every run
-- takes the same.
lead_products as (
    select
        invoice_no,
        product as lead_product
    from products_of_invoices
    qualify row_number() over (partition by invoice_no order by turnover desc, product) = 1
),

invoices as (
    select
        invoice_no,
        customer_id,
        country,
        is_cancellation,
        sum(amount) as amount,
        count(*) as lines,
        count(distinct product) as products,
        sum(quantity) as quantity,
        -- Nothing is known of an invoice as a whole before its last line is written (65 of them span one or two minutes).
        max(invoiced_at) as invoiced_at
    from invoice_lines
    group by invoice_no, customer_id, country, is_cancellation
),

final as (
    select
        invoices.invoice_no,
        invoices.customer_id,

        case when invoices.is_cancellation then 'cancellation' else 'purchase' end as activity_type,
        lead_products.lead_product,
        dayname(invoices.invoiced_at) as weekday,
        strftime(invoices.invoiced_at, '%H') as hour_of_day,
        invoices.country,

        cast(invoices.amount as double) as amount,
        invoices.lines,
        invoices.products,
        cast(invoices.quantity as bigint) as quantity,
        round(cast(invoices.amount as double) / cast(invoices.quantity as double), 4) as mean_unit_price,

        invoices.invoiced_at
    from invoices
    inner join lead_products on invoices.invoice_no = lead_products.invoice_no
)

select
    invoice_no,
    customer_id,
    activity_type,
    lead_product,
    weekday,
    hour_of_day,
    country,
    amount,
    lines,
    products,
    quantity,
    mean_unit_price,
    invoiced_at
from final

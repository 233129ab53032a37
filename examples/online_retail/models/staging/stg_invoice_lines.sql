-- Every invoice line once, with the reason why it is left out of the activities, if it is.
-- The counts in the comments are of the whole file, 1,067,370 lines; a line counts at the first reason that it meets.
with

source as (
    select * from {{ source('uci', 'online_retail_ii') }}
),

-- The sheets overlap: 1,088 invoices of 2010-12-01 to 2010-12-09 stand in both, each line for line (22,523 lines, which differ
-- only in the text "nan" against null). Each invoice is taken from the first sheet that has it. Equal lines within one sheet
-- stay: the shop books a second scan of a product as a second line (11,665 of the lines kept below repeat another).
one_sheet as (
    select *
    from source
    qualify sheet = min(sheet) over (partition by invoice_no)
),

renamed as (
    select
        invoice_no,
        cast(customer_id as varchar) as customer_id,
        -- 85123a is 85123A, and one code ends in a blank.
        upper(trim(stock_code)) as product,

        nullif(trim(description), 'nan') as description,
        country,
        sheet,

        quantity,
        -- Exact: no price has more than three decimals. Sums of decimals do not depend on their order.
        cast(price as decimal(18, 3)) as unit_price,

        invoice_date as invoiced_at
    from one_sheet
),

judged as (
    select
        *,
        quantity * unit_price as amount,
        starts_with(invoice_no, 'C') as is_cancellation,
        case
            -- Bad debts, booked against nobody: 6 lines, -147,615 pounds.
            when starts_with(invoice_no, 'A') then 'adjustment'
            -- Nobody to attribute them to: 235,281 lines, 22.5 % of what the overlap leaves. All corrections of the stock are here.
            when customer_id is null then 'no customer'
            -- Products have five digits and at most two letters (15056BL), or are DCGS..., SP... or PADS. What is left is POST, DOT, C2
            -- and C3 (postage and carriage), M (manual), D (discount), S (samples), B, ADJUST, BANK CHARGES, AMAZONFEE, CRUK
            -- (a charity's commission), TEST... and gift vouchers. 3,651 lines of customers.
            when not regexp_full_match(product, '[0-9]{5}[A-Z]{0,2}|DCGS[0-9A-Z]+|SP[0-9]+|PADS') then 'no product'
            -- Three codes look like products: next day carriage, a packing charge and a gift voucher. 96 lines of customers.
            when product in ('23444', '23574', '22016') then 'no product'
            -- Gifts and mistakes of customers' invoices: 61 lines.
            when unit_price <= 0 then 'no price'
        end as dropped_because
    from renamed
),

final as (
    select
        invoice_no,
        customer_id,
        product,

        description,
        country,
        sheet,
        dropped_because,

        quantity,
        unit_price,
        amount,

        is_cancellation,

        invoiced_at
    from judged
)

select
    invoice_no,
    customer_id,
    product,
    description,
    country,
    sheet,
    dropped_because,
    quantity,
    unit_price,
    amount,
    is_cancellation,
    invoiced_at
from final

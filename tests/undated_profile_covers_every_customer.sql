-- A warning that names the customers whom a profile without valid_from does not hold: who registers later gets attributes at
-- all earlier cutoffs, so that a missing one tells who has not come back. profile.valid_from (the day of the sign-up) mends it.
{%- set profile = caspr.profile() %}
{{ config(severity='warn', enabled=profile is not none and profile.valid_from is none) }}

with

customers as (
    select distinct customer_id from {{ ref('customer_cutoffs') }}
),

profiles as (
    {{ caspr.profile_rows(profile) | indent(4) if profile }}
)

select customers.customer_id
from customers
left join profiles on customers.customer_id = profiles.customer_id
where profiles.customer_id is null

-- What is known of each customer beside the activities. A customer without a profile keeps a row of nulls.
{%- set profile = caspr.profile() %}
{%- set attributes = profile.attributes if profile else [] %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

customers as (
    {{ caspr.customers_at_cutoffs() }}
),

{% if profile -%}
profiles as (
    select
        {{ caspr.cast_categorical(caspr.quoted(profile.customer_id)) }} as customer_id
        {%- for attribute in attributes %},
        {{ caspr.cast_kind(caspr.quoted(attribute.column), attribute.kind) }} as {{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from {{ caspr.configured_model(profile) }}
),

final as (
    select
        customers.customer_id,
        customers.cutoff_at,
        profiles.customer_id is not null as has_profile
        {%- for attribute in attributes %},
        profiles.{{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from customers
    left join profiles on customers.customer_id = profiles.customer_id
)
{%- else -%}
final as (
    select
        customer_id,
        cutoff_at,
        false as has_profile
    from customers
)
{%- endif %}

select
    customer_id,
    cutoff_at,
    has_profile
    {%- for attribute in attributes %},
    {{ caspr.quoted(attribute.name) }}
    {%- endfor %}
from final

-- What each customer had bought before each cutoff, item by item: what recommenders are made from.
{%- set recommendation = caspr.recommendation() %}
{#- What was loaded later is not known: activities as they were at the cutoff. #}
{%- set as_known = caspr.knows_loads() and recommendation.item %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

pairs as (
    select * from {{ ref('customer_cutoffs') }}
),

{% if as_known -%}
{{ caspr.known_activities() }},

{% else -%}
purchases as (
    {{ caspr.purchases() | indent(4) }}
),

{% endif -%}
known_purchases as (
    {%- if as_known %}
    select
        known_activities.customer_id,
        known_activities.cutoff_at,
        known_activities.occurred_at,
        known_activities.{{ caspr.quoted(recommendation.item.name) }} as item
    from known_activities
    where {{ caspr.is_purchase('known_activities') | indent(4) }}
    {%- else %}
    select
        pairs.customer_id,
        pairs.cutoff_at,
        purchases.occurred_at,
        purchases.item
    from pairs
    inner join purchases
        on pairs.customer_id = purchases.customer_id
        and {{ caspr.before_cutoff('purchases.occurred_at', 'pairs.cutoff_at') }}
    {%- endif %}
),

final as (
    select
        customer_id,
        cutoff_at,
        item,
        count(distinct occurred_at) as purchase_count,
        max(occurred_at) as last_purchased_at
    from known_purchases
    group by customer_id, cutoff_at, item
)

select
    customer_id,
    cutoff_at,
    item,
    purchase_count,
    last_purchased_at,
    {{ 'false' if recommendation.exclude_bought else 'true' }} as is_recommendable
from final

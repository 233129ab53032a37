{#- All purchases as customer_id, occurred_at, item, whenever they happened; see _macros.yml. -#}
{% macro purchases(activity_log='activity_log') -%}
    {%- set recommendation = caspr.recommendation() -%}
    {%- if recommendation.purchases -%}
    select
        customer_id,
        occurred_at,
        item
    from (
        {{ caspr.source_purchases(recommendation.purchases) | indent(4) }}
    ) as source_purchases
    where rejection is null
    {%- elif recommendation.item -%}
    select
        activities.customer_id,
        activities.occurred_at,
        activities.{{ caspr.quoted(recommendation.item.name) }} as item
    from {{ activity_log }} as activities
    where {{ caspr.is_purchase('activities') | indent(4) }}
    {%- else -%}
    -- No attribute is the item, so nothing is bought that could be recommended.
    select
        activities.customer_id,
        activities.occurred_at,
        {{ caspr.cast_categorical('null') }} as item
    from {{ activity_log }} as activities
    where 1 = 0
    {%- endif -%}
{%- endmacro %}

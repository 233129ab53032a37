{#- All rows of the configured table of purchases, each with the reason why it tells nothing, or null; see _macros.yml. -#}
{% macro source_purchases(purchases) -%}
    {%- set possible = caspr.possible_times() -%}
    select
        *,
        case
            when customer_id is null then 'null_customer_id'
            when customer_id = '' then 'empty_customer_id'
            when item is null then 'null_item'
            when item = '' then 'empty_item'
            when occurred_at is null then 'null_occurred_at'
            when not (
                occurred_at >= {{ caspr.timestamp_literal(possible.from) }}
                and occurred_at < {{ caspr.timestamp_literal(possible.until) }}
            ) then 'impossible_occurred_at'
        end as rejection
    from (
        select
            {{ caspr.key_of(purchases.customer_id) }} as customer_id,
            {{ caspr.utc_timestamp(caspr.quoted(purchases.occurred_at)) }} as occurred_at,
            {{ caspr.cast_categorical(caspr.quoted(purchases.item)) }} as item
        from {{ caspr.configured_model(purchases) }}
    ) as read_purchases
{%- endmacro %}

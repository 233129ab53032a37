{#- All rows of the configured table of purchases, each with the reason why it tells nothing, or null; see _macros.yml. -#}
{% macro source_purchases(purchases) -%}
    select
        *,
        case
            {{ caspr.bad_key_or_time(['customer_id', 'item']) | indent(8) }}
        end as rejection
    from (
        select
            {{ caspr.key_of(purchases.customer_id) }} as customer_id,
            {{ caspr.utc_timestamp(caspr.quoted(purchases.occurred_at)) }} as occurred_at,
            {{ caspr.cast_categorical(caspr.quoted(purchases.item)) }} as item
        from {{ caspr.configured_model(purchases) }}
    ) as read_purchases
{%- endmacro %}

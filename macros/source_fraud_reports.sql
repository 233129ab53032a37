{#- All fraud reports, each with the reason why it tells nothing, or null; see _macros.yml. -#}
{% macro source_fraud_reports(fraud) -%}
    select
        *,
        case
            {{ caspr.bad_key_or_time(['customer_id']) | indent(8) }}
            when known_at is null then 'null_known_at'
            when known_at < occurred_at then 'known_before_it_occurred'
            when is_fraud is null then 'null_is_fraud'
        end as rejection
    from (
        select
            {{ caspr.key_of(fraud.customer_id) }} as customer_id,
            {{ caspr.utc_timestamp(caspr.quoted(fraud.occurred_at)) }} as occurred_at,
            {{ caspr.utc_timestamp(caspr.quoted(fraud.known_at)) }} as known_at,
            {{ caspr.quoted(fraud.is_fraud) if fraud.is_fraud else 'true' }} as is_fraud
        from {{ caspr.configured_model(fraud) }}
    ) as read_reports
{%- endmacro %}

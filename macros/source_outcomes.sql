{#- All rows of the observed outcomes, each with the reason why it tells nothing, or null; see _macros.yml. -#}
{% macro source_outcomes(observed) -%}
    select
        *,
        case
            {{ caspr.bad_key_or_time(['customer_id']) | indent(8) }}
            when is_churned is null then 'null_is_churned'
        end as rejection
    from (
        select
            {{ caspr.key_of(observed.customer_id) }} as customer_id,
            {{ caspr.utc_timestamp(caspr.quoted(observed.occurred_at)) }} as occurred_at,
            {{ caspr.quoted(observed.is_churned) if observed.is_churned else 'true' }} as is_churned
        from {{ caspr.configured_model(observed) }}
    ) as read_outcomes
{%- endmacro %}

{#- All rows of the observed outcomes, each with the reason why it tells nothing, or null; see _macros.yml. -#}
{% macro source_outcomes(observed) -%}
    {%- set possible = caspr.possible_times() -%}
    select
        *,
        case
            when customer_id is null then 'null_customer_id'
            when customer_id = '' then 'empty_customer_id'
            when occurred_at is null then 'null_occurred_at'
            when not (
                occurred_at >= {{ caspr.timestamp_literal(possible.from) }}
                and occurred_at < {{ caspr.timestamp_literal(possible.until) }}
            ) then 'impossible_occurred_at'
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

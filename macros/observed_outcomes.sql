{#- The observed outcomes as customer_id, occurred_at, is_churned; see _macros.yml. -#}
{% macro observed_outcomes(observed) -%}
    select
        {{ caspr.key_of(observed.customer_id) }} as customer_id,
        {{ caspr.utc_timestamp(caspr.quoted(observed.occurred_at)) }} as occurred_at,
        {{ caspr.quoted(observed.is_churned) if observed.is_churned else 'true' }} as is_churned
    from {{ caspr.configured_model(observed) }}
    where {{ caspr.quoted(observed.occurred_at) }} is not null
{%- endmacro %}

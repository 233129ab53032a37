{#- Everybody who gets a prediction, with whether there is an activity to make it from; see _macros.yml. -#}
{% macro scored_customers(customer_cutoffs='customer_cutoffs', customers_without_activity='customers_without_activity') -%}
    select
        customer_id,
        cutoff_at,
        is_at_risk,
        true as has_activity
    from {{ customer_cutoffs }}
    union all
    -- with at_risk_days only who was active of late is at risk
    select
        customer_id,
        cutoff_at,
        {{ 'false' if caspr.at_risk_days() else 'true' }} as is_at_risk,
        false as has_activity
    from {{ customers_without_activity }}
{%- endmacro %}

{#- Who can still churn at a cutoff: at risk, and without an observed outcome before it; see _macros.yml. -#}
{% macro customers_at_risk_of_churn(customer_cutoffs='customer_cutoffs', outcomes='outcomes') -%}
    select customer_cutoffs.*
    from {{ customer_cutoffs }} as customer_cutoffs
    where customer_cutoffs.is_at_risk
    {%- if caspr.churn().observed %}
        and not exists (
            select 1
            from {{ outcomes }} as outcomes
            where outcomes.customer_id = customer_cutoffs.customer_id
                and {{ caspr.before_cutoff('outcomes.occurred_at', 'customer_cutoffs.cutoff_at') }}
        )
    {%- endif %}
{%- endmacro %}

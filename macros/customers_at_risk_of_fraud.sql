{#- Who can still be found out at a cutoff: at risk, and not known to be a fraud before it; see _macros.yml. -#}
{% macro customers_at_risk_of_fraud(customer_cutoffs='customer_cutoffs', reports='reports') -%}
    select customer_cutoffs.*
    from {{ customer_cutoffs }} as customer_cutoffs
    where customer_cutoffs.is_at_risk
        and not exists (
            select 1
            from {{ reports }} as reports
            where reports.customer_id = customer_cutoffs.customer_id
                and reports.is_fraud
                and {{ caspr.before_cutoff('reports.known_at', 'customer_cutoffs.cutoff_at') }}
        )
{%- endmacro %}

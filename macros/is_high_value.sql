{#- Whether a customer is one of the fewest who together made a share of the revenue; see _macros.yml. -#}
{% macro is_high_value(revenue, customer_id='customer_id', partition_by='cutoff_at', share=0.8) -%}
    {#- In: what the customers above have made falls short of the share. The first customer is thus always in. Both sums are rounded, so
        that who makes the share exactly is the last. -#}
    {%- set earned = 'case when ' ~ revenue ~ ' > 0 then ' ~ revenue ~ ' else 0 end' -%}
    {%- set above -%}
            sum({{ earned }}) over (
                partition by {{ partition_by }}
                order by {{ revenue }} desc, {{ caspr.text_order(customer_id) }}
                rows between unbounded preceding and 1 preceding
            )
    {%- endset -%}
    {%- set aimed_at -%}
            {{ share }} * sum({{ earned }}) over (partition by {{ partition_by }})
    {%- endset -%}
    (
        {{ revenue }} > 0
        and coalesce({{ caspr.rounded(above) }}, 0) < {{ caspr.rounded(aimed_at) }}
    )
{%- endmacro %}

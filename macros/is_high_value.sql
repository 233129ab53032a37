{#- Whether a customer is one of the fewest who together made a share of the revenue; see _macros.yml. -#}
{% macro is_high_value(revenue, customer_id='customer_id', partition_by='cutoff_at', share=0.8) -%}
    {#- In: what the customers above have made falls short of the share. The first customer is thus always in. -#}
    (
        {{ revenue }} > 0
        and coalesce(
            sum(case when {{ revenue }} > 0 then {{ revenue }} else 0 end) over (
                partition by {{ partition_by }}
                order by {{ revenue }} desc, {{ caspr.text_order(customer_id) }}
                rows between unbounded preceding and 1 preceding
            ),
            0
        ) < {{ share }} * sum(case when {{ revenue }} > 0 then {{ revenue }} else 0 end) over (partition by {{ partition_by }})
    )
{%- endmacro %}

{#- The pairs of customer and cutoff with a fingerprint of both the customer's activities and the listed values; see _macros.yml. -#}
{% macro content_pairs(customer_cutoffs, attribute_values) -%}
    select
        pairs.customer_id,
        pairs.cutoff_at,
        pairs.activity_count,
        {{ caspr.cast_categorical(caspr.row_hash(['pairs.customer_fingerprint', 'listed.hash_total'])) }} as customer_fingerprint
    from {{ customer_cutoffs }} as pairs
    cross join (
        select {{ caspr.hash_total(caspr.row_hash(['attribute_name', 'value_rank', 'attribute_value'])) }} as hash_total
        from {{ attribute_values }}
    ) as listed
{%- endmacro %}

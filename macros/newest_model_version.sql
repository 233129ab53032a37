{#- A query for the version of the customer vectors that was embedded last; of two at one instant, the greater name. -#}
{% macro newest_model_version() -%}
    select model_version
    from (
        select
            model_version,
            row_number() over (order by max(embedded_at) desc, model_version desc) as version_rank
        from {{ source('caspr_trained', 'customer_embeddings') }}
        group by model_version
    ) as versions
    where version_rank = 1
{%- endmacro %}

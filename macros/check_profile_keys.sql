{#- Stops, before a mart of profiles is built, if the profile holds two rows of a customer that could both count. -#}
{% macro check_profile_keys(profile) %}
    {%- set relation = caspr.configured_model(profile) -%}
    {#- As in check_columns: no fixture and no ephemeral model, and nothing that is not there yet. -#}
    {%- if not execute or relation.is_cte or (relation.identifier or '').startswith('__dbt__cte__')
        or adapter.get_relation(relation.database, relation.schema, relation.identifier) is none -%}
        {{ return('') }}
    {%- endif -%}
    {%- set valid_from = caspr.utc_timestamp(caspr.quoted(profile.valid_from)) if profile.valid_from -%}
    {%- set valid_to = caspr.utc_timestamp(caspr.quoted(profile.valid_to)) if profile.valid_to -%}
    {%- set sql -%}
    select
        customer_id,
        row_count,
        count(*) over () as customer_count
    from (
        select
            {{ caspr.key_of(profile.customer_id) }} as customer_id,
            count(*) as row_count
        from {{ relation }}
        -- rows of nobody are left out, and warned of
        where {{ caspr.key_of(profile.customer_id) }} <> ''
        {%- if valid_to %}
            -- a row that ends where it begins never counts
            and ({{ valid_from }} is null or {{ valid_to }} is null or {{ valid_from }} < {{ valid_to }})
        {%- endif %}
        group by {{ caspr.key_of(profile.customer_id) }}{{ ', ' ~ valid_from if valid_from }}
        having count(*) > 1
    ) as twice
    order by row_count desc, customer_id
    limit 1
    {%- endset -%}
    {%- for row in run_query(sql).rows -%}
        {%- do caspr.bad_setting(
            'profile.customer_id', profile.customer_id | join(', '),
            'one row a customer' ~ (' and ' ~ profile.valid_from if valid_from else '') ~ " in model '" ~ profile.model ~ "', where '" ~ row[0]
            ~ "' has " ~ row[1] ~ ' (customers with several: ' ~ row[2] ~ '): take the others out there'
            ~ ('' if valid_from else ', or name valid_from')
        ) -%}
    {%- endfor -%}
{% endmacro %}

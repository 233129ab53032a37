{#- The rows of the profile model: customer_id, the dates of validity as caspr_valid_from and caspr_valid_to, the attributes;
    see _macros.yml. -#}
{% macro profile_rows(profile) -%}
    select
        {{ caspr.key_of(profile.customer_id) }} as customer_id
        {%- for field in ['valid_from', 'valid_to'] if profile[field] %},
        {{ caspr.utc_timestamp(caspr.quoted(profile[field])) }} as caspr_{{ field }}
        {%- endfor %}
        {%- for attribute in profile.attributes %},
        {{ caspr.cast_kind(caspr.quoted(attribute.column), attribute.kind) }} as {{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from {{ caspr.configured_model(profile) }}
{%- endmacro %}

{#- The common table expressions behind the relative attributes: per customer and instant, what lies strictly before it. -#}
{% macro relative_ctes(activities, partition_by) -%}
    {%- set relative = caspr.relative_attributes() -%}
    {%- if relative -%}
value_instants as (
    select
        {{ partition_by | join(', ') }},
        occurred_at
        {%- for attribute in relative %},
        sum({{ caspr.finite(caspr.quoted(attribute.of)) }}) as {{ attribute.name }}_sum,
        count({{ caspr.finite(caspr.quoted(attribute.of)) }}) as {{ attribute.name }}_count
        {%- endfor %}
    from {{ activities }}
    group by {{ partition_by | join(', ') }}, occurred_at
),

earlier_values as (
    select
        {{ partition_by | join(', ') }},
        occurred_at
        {%- for attribute in relative %}
        {%- for part in ['sum', 'count'] %},
        sum({{ attribute.name }}_{{ part }}) over (
            partition by {{ partition_by | join(', ') }} order by occurred_at rows between unbounded preceding and 1 preceding
        ) as {{ attribute.name }}_{{ part }}
        {%- endfor %}
        {%- endfor %}
    from value_instants
),
    {%- endif -%}
{%- endmacro %}

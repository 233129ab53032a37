{#- The rows that share their activity_id with others, ranked: version 1 counts, the others are rejected; see _macros.yml. -#}
{% macro activity_versions(repeated) -%}
    select
        source_activities.*,
        row_number() over (
            partition by source_activities.stream_rank, source_activities.activity_id
            order by
                case when source_activities.loaded_at is null then 1 else 0 end,
                source_activities.loaded_at desc,
                case when source_activities.rejection is null then 0 else 1 end,
                -- the first: a row that comes after a cutoff then takes none away from before it
                source_activities.occurred_at,
                -- only so that a tie falls the same way on every run and warehouse; rows equal in all of it are copies
                {{ caspr.text_order('source_activities.customer_id') }},
                {{ caspr.text_order('source_activities.activity_type') }}
                {%- for attribute in caspr.sequence_attributes() %}
                {%- set column = 'source_activities.' ~ caspr.quoted(attribute.name) %},
                case when {{ column }} is null then 1 else 0 end,
                {{ caspr.text_order(column) if attribute.kind == 'categorical' else column }}
                {%- endfor %}
        ) as version_rank
    from (
        {{ caspr.source_activities() | indent(4) }}
    ) as source_activities
    inner join {{ repeated }} as repeated
        on source_activities.stream_rank = repeated.stream_rank
        and source_activities.activity_id = repeated.activity_id
    where {{ caspr.is_version('source_activities') | indent(4) }}
{%- endmacro %}

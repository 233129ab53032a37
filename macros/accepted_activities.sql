{#- The rows of all streams that count: none rejected, and of several with one activity_id the one that counts; see _macros.yml. -#}
{% macro accepted_activities(rejected_activities='rejected_activities') -%}
    {%- set columns = ['customer_id', 'occurred_at', 'loaded_at', 'stream', 'stream_rank', 'activity_id', 'activity_type'] -%}
    {%- for attribute in caspr.sequence_attributes() -%}
        {%- do columns.append(caspr.quoted(attribute.name)) -%}
    {%- endfor -%}
    {%- set repeated -%}
    (select distinct stream_rank, activity_id from {{ rejected_activities }} where rejection = 'repeated_activity_id')
    {%- endset -%}
    {#- Nearly all rows have a key of their own and need no ranking, hence the two branches; each reads the streams itself, because a
        shared common table expression would be written down whole first. -#}
    select
        {%- for column in columns %}
        source_activities.{{ column }},
        {%- endfor %}
        false as is_repeated
    from (
        {{ caspr.source_activities() | indent(4) }}
    ) as source_activities
    left join {{ repeated }} as repeated
        on source_activities.stream_rank = repeated.stream_rank
        and source_activities.activity_id = repeated.activity_id
    where source_activities.rejection is null and repeated.stream_rank is null
    union all
    select
        {%- for column in columns %}
        {{ column }},
        {%- endfor %}
        true as is_repeated
    from (
        {{ caspr.activity_versions(repeated) | indent(4) }}
    ) as versions
    where version_rank = 1 and rejection is null
{%- endmacro %}

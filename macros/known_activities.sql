{#- Common table expressions that end in `known_activities`: what is known of each pair of customer and cutoff; see _macros.yml. -#}
{% macro known_activities(activity_log='activity_log', pairs='pairs') -%}
    {%- set own = ['customer_id', 'occurred_at', 'stream_rank', 'activity_id', 'activity_type'] -%}
    {%- for attribute in caspr.sequence_attributes() -%}
        {%- do own.append(caspr.quoted(attribute.name)) -%}
    {%- endfor -%}
    {%- set relative = caspr.relative_attributes() -%}
    {%- set knows_loads = caspr.knows_loads() -%}
    {%- if knows_loads -%}
loaded_activities as (
    {{ caspr.loaded_activities(activity_log, ref('caspr', 'superseded_activities')) | indent(4) }}
),

    {% endif -%}
{{ 'known_rows' if knows_loads else 'known_activities' }} as (
    select
        pairs.cutoff_at,
        pairs.customer_fingerprint,
        pairs.activity_count
        {%- for column in own %},
        activities.{{ column }}
        {%- endfor %}
        {%- if not knows_loads %},
        activities.activity_number,
        activities.seconds_since_previous
        {%- for attribute in relative %},
        activities.{{ caspr.quoted(attribute.name) }}
        {%- endfor %}
        {%- endif %}
    from {{ pairs }} as pairs
    inner join {{ 'loaded_activities' if knows_loads else activity_log }} as activities
        on pairs.customer_id = activities.customer_id
        and {{ caspr.known_at_cutoff('activities', 'pairs.cutoff_at') | indent(8) }}
)
    {%- if knows_loads -%}
,

-- What was loaded late is missing in the middle, and what was corrected later is at its old place: place, gap and mean are counted
-- anew for each cutoff.
known_numbered as (
    select
        *,
        row_number() over (partition by customer_id, cutoff_at order by {{ caspr.activity_order() }}) as activity_number,
        lag(occurred_at) over (partition by customer_id, cutoff_at order by {{ caspr.activity_order() }}) as previous_at
    from known_rows
),

{{ caspr.relative_ctes('known_numbered', ['customer_id', 'cutoff_at']) }}

known_activities as (
    select
        known_numbered.*,
        {{ caspr.seconds_between('known_numbered.previous_at', 'known_numbered.occurred_at') }} as seconds_since_previous
        {%- for attribute in relative %},
        {{ caspr.relative_number('known_numbered', attribute) }} as {{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from known_numbered
    {{ caspr.relative_join('known_numbered', ['customer_id', 'cutoff_at']) | indent(4) }}
)
    {%- endif -%}
{%- endmacro %}

{#- Who exists at which cutoff: every customer whose first activity lies before it. Columns customer_id, cutoff_at. -#}
{% macro customers_at_cutoffs(activity_log='activity_log', cutoffs='cutoffs') -%}
    select
        activities.customer_id,
        cutoffs.cutoff_at
    from {{ activity_log }} as activities
    inner join {{ cutoffs }} as cutoffs on {{ caspr.before_cutoff('activities.occurred_at', 'cutoffs.cutoff_at') }}
    where activities.activity_number = 1
{%- endmacro %}

-- Who exists at which cutoff: every customer of whom an activity is known there. All marts hold these pairs and no others.
{{ config(
    materialized=caspr.incremental_or_table(),
    incremental_strategy=caspr.incremental_strategy(),
    on_schema_change='append_new_columns',
    pre_hook=[
        "{{ caspr.delete_stale(ref('customer_fingerprints'), ['customer_id']) }}",
        "{{ caspr.delete_dropped_cutoffs() }}",
    ],
) }}
{%- set at_risk_days = caspr.at_risk_days() %}
{%- set knows_loads = caspr.knows_loads() %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

{% if knows_loads -%}
loaded_activities as (
    {{ caspr.loaded_activities('activity_log', ref('superseded_activities')) | indent(4) }}
),

-- Also whose activities are all another's today; who has none before a cutoff falls out below.
pairs as (
    select
        customer_fingerprints.customer_id,
        cutoffs.cutoff_at,
        customer_fingerprints.customer_fingerprint
    from {{ ref('customer_fingerprints') }} as customer_fingerprints
    cross join cutoffs
),
{%- else -%}
pairs as (
    select
        activity_log.customer_id,
        cutoffs.cutoff_at,
        activity_log.customer_fingerprint
    from activity_log
    inner join cutoffs on {{ caspr.before_cutoff('activity_log.occurred_at', 'cutoffs.cutoff_at') }}
    where activity_log.activity_number = 1
),
{%- endif %}

wanted as (
    select * from pairs
    where {{ caspr.missing_from_this('pairs', ['customer_id', 'cutoff_at']) | indent(4) }}
),

final as (
    select
        wanted.customer_id,
        wanted.cutoff_at,
        cast(count(*) as integer) as activity_count,
        min(activities.occurred_at) as first_activity_at,
        max(activities.occurred_at) as last_activity_at,
        max(wanted.customer_fingerprint) as customer_fingerprint
    from wanted
    inner join {{ 'loaded_activities' if knows_loads else 'activity_log' }} as activities
        on wanted.customer_id = activities.customer_id
        and {{ caspr.known_at_cutoff('activities', 'wanted.cutoff_at') | indent(8) }}
    group by wanted.customer_id, wanted.cutoff_at
)

select
    customer_id,
    cutoff_at,
    activity_count,
    first_activity_at,
    last_activity_at,
    {% if at_risk_days -%}
    last_activity_at >= {{ caspr.add_days('cutoff_at', -at_risk_days) }} as is_at_risk,
    {%- else -%}
    true as is_at_risk,
    {%- endif %}
    customer_fingerprint
from final

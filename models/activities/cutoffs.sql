-- The instants beyond which a row knows nothing. Never the wall clock: the data or the settings decide.
{%- set configured = caspr.configured_cutoffs() %}
{%- set horizon = caspr.horizon_days() %}
{%- set step = caspr.positive_integer('train_cutoff_step_days', horizon) %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

-- No row if there is no activity: then nothing can be known, and all marts are empty.
known_until as (
    select {{ caspr.as_of() }} as as_of
    from activity_log
    having count(occurred_at) > 0
),

chosen as (
    {%- if configured %}
    {%- for cutoff in configured %}
    select
        {{ caspr.timestamp_literal(cutoff.cutoff_at) }} as cutoff_at,
        {{ caspr.text_literal(cutoff.role) }} as role,
        as_of
    from known_until
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
    {%- else %}
    -- The labels of one role end by the cutoff of the next; train cutoffs may lie closer to each other than that.
    {%- for role in ['score', 'evaluate'] + ['train'] * caspr.positive_integer('train_cutoffs', 1) %}
    {%- set days_back = horizon * loop.index0 if loop.index0 < 2 else horizon * 2 + step * (loop.index0 - 2) %}
    select
        {{ caspr.add_days('as_of', -days_back) }} as cutoff_at,
        {{ caspr.text_literal(role) }} as role,
        as_of
    from known_until
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
    {%- endif %}
),

with_horizon as (
    select
        *,
        {{ caspr.add_days('cutoff_at', horizon) }} as horizon_ends_at
    from chosen
),

final as (
    select
        cutoff_at,
        role,
        horizon_ends_at,
        horizon_ends_at <= as_of as has_labels,
        as_of
    from with_horizon
)

select
    cutoff_at,
    role,
    horizon_ends_at,
    has_labels,
    as_of
from final

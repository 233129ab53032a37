-- Who is known at a score cutoff by the profile alone: it began before the cutoff, and no activity is known there.
{%- set profile = caspr.profile() %}
{%- set attributes = profile.attributes if profile else [] %}
{#- Without dates nobody knows who was a customer before the cutoff: the profile may have come after it. -#}
{%- set is_dated = profile is not none and profile.valid_from is not none %}
{%- do caspr.check_profile_keys(profile) if is_dated %}

with

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

{% if is_dated -%}
cutoffs as (
    select * from {{ ref('cutoffs') }}
),

profiles as (
    {{ caspr.profile_rows(profile) | indent(4) }}
),

-- The row that held in the last instant before the cutoff, as in customer_profiles; one without a begin tells not since when.
valid_profiles as (
    select
        profiles.*,
        cutoffs.cutoff_at,
        -- equal ranks, which check_profile_keys stops, would stay two rows
        rank() over (
            partition by profiles.customer_id, cutoffs.cutoff_at
            order by profiles.caspr_valid_from desc
        ) as caspr_validity_rank
    from profiles
    inner join cutoffs
        on {{ caspr.held_before_cutoff(profile, 'profiles', 'cutoffs.cutoff_at') | indent(8) }}
    left join customer_cutoffs
        on profiles.customer_id = customer_cutoffs.customer_id
        and cutoffs.cutoff_at = customer_cutoffs.cutoff_at
    where cutoffs.role = 'score'
        and profiles.customer_id <> ''
        and profiles.caspr_valid_from is not null
        and customer_cutoffs.customer_id is null
),

final as (
    select
        customer_id,
        cutoff_at,
        true as has_profile
        {%- for attribute in attributes %},
        {{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from valid_profiles
    where caspr_validity_rank = 1
)
{%- else -%}
final as (
    select
        customer_id,
        cutoff_at,
        true as has_profile
        {%- for attribute in attributes %},
        {{ caspr.cast_kind('null', attribute.kind) }} as {{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from customer_cutoffs
    where 1 = 0
)
{%- endif %}

select
    customer_id,
    cutoff_at,
    has_profile
    {%- for attribute in attributes %},
    {{ caspr.quoted(attribute.name) }}
    {%- endfor %}
from final

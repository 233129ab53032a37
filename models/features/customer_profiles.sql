-- What is known of each customer beside the activities. A customer without a profile keeps a row of nulls.
{%- set profile = caspr.profile() %}
{%- set attributes = profile.attributes if profile else [] %}
{%- do caspr.check_profile_keys(profile) if profile %}

with

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

{% if profile -%}
-- What is no attribute has a name that an attribute cannot have.
profiles as (
    {{ caspr.profile_rows(profile) | indent(4) }}
),

{% if profile.valid_from -%}
-- The row that held in the last instant before the cutoff.
valid_profiles as (
    select
        profiles.*,
        customer_cutoffs.cutoff_at,
        -- equal ranks, which check_profile_keys stops, would stay two rows
        rank() over (
            partition by customer_cutoffs.customer_id, customer_cutoffs.cutoff_at
            order by case when profiles.caspr_valid_from is null then 1 else 0 end, profiles.caspr_valid_from desc
        ) as caspr_validity_rank
    from customer_cutoffs
    inner join profiles
        on customer_cutoffs.customer_id = profiles.customer_id
        and {{ caspr.held_before_cutoff(profile, 'profiles', 'customer_cutoffs.cutoff_at') | indent(4) }}
),

{% endif -%}
final as (
    select
        customer_cutoffs.customer_id,
        customer_cutoffs.cutoff_at,
        {%- if profile.valid_from %}
        profiles.customer_id is not null as has_profile,
        profiles.caspr_valid_from as profile_began_at
        {%- else %}
        -- A row of today may have come after the cutoff, and would tell who came back to register.
        cast(null as {{ dbt.type_boolean() }}) as has_profile,
        cast(null as {{ dbt.type_timestamp() }}) as profile_began_at
        {%- endif %}
        {%- for attribute in attributes %},
        profiles.{{ caspr.quoted(attribute.name) }}
        {%- endfor %}
    from customer_cutoffs
    {%- if profile.valid_from %}
    left join valid_profiles as profiles
        on customer_cutoffs.customer_id = profiles.customer_id
        and customer_cutoffs.cutoff_at = profiles.cutoff_at
        and profiles.caspr_validity_rank = 1
    {%- else %}
    left join profiles on customer_cutoffs.customer_id = profiles.customer_id
    {%- endif %}
)
{%- else -%}
final as (
    select
        customer_id,
        cutoff_at,
        false as has_profile,
        cast(null as {{ dbt.type_timestamp() }}) as profile_began_at
    from customer_cutoffs
)
{%- endif %}

select
    customer_id,
    cutoff_at,
    has_profile,
    profile_began_at
    {%- for attribute in attributes %},
    {{ caspr.quoted(attribute.name) }}
    {%- endfor %}
from final

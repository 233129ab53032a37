-- The most frequent values of every categorical attribute, fixed at the first train cutoff that has customers: later activities
-- choose no column.
{%- set attributes = caspr.categorical_attributes() %}
{%- set knows_loads = caspr.knows_loads() %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

customer_cutoffs as (
    select distinct cutoff_at from {{ ref('customer_cutoffs') }}
),

-- Where no train cutoff has customers, the first of any role that has. No mart holds a row of an earlier train cutoff, so none is
-- described by values that were chosen after it.
first_cutoff as (
    select coalesce(min(case when cutoffs.role = 'train' then cutoffs.cutoff_at end), min(cutoffs.cutoff_at)) as cutoff_at
    from cutoffs
    inner join customer_cutoffs on cutoffs.cutoff_at = customer_cutoffs.cutoff_at
),

{% if knows_loads -%}
loaded_activities as (
    {{ caspr.loaded_activities('activity_log', ref('superseded_activities')) | indent(4) }}
),

{% endif -%}
known as (
    select activities.*
    from {{ 'loaded_activities' if knows_loads else 'activity_log' }} as activities
    inner join first_cutoff on {{ caspr.known_at_cutoff('activities', 'first_cutoff.cutoff_at') | indent(8) }}
),

counted as (
    {%- for name in attributes %}
    select
        {{ caspr.text_literal(name) }} as attribute_name,
        {{ caspr.quoted(name) }} as attribute_value,
        count(*) as activity_count
    from known
    where {{ caspr.quoted(name) }} is not null
    group by {{ caspr.quoted(name) }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

ranked as (
    select
        *,
        row_number() over (
            partition by attribute_name order by activity_count desc, {{ caspr.text_order('attribute_value') }}
        ) as value_rank
    from counted
),

final as (
    select
        attribute_name,
        cast(value_rank as integer) as value_rank,
        attribute_value,
        cast(activity_count as {{ dbt.type_bigint() }}) as activity_count
    from ranked
    where value_rank <= {{ caspr.content_values() }}
)

select
    attribute_name,
    value_rank,
    attribute_value,
    activity_count
from final

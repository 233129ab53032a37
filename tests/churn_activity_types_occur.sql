-- A churn type that never occurs is a slip of the pen that would make everybody churn.
{%- set types = caspr.churn().activity_types or [] %}

with

configured as (
    select {{ caspr.cast_categorical('null') }} as activity_type
    {%- for type in types %}
    union all
    select {{ caspr.text_literal(type) }} as activity_type
    {%- endfor %}
),

occurring as (
    select distinct activity_type
    from {{ ref('activity_log') }}
)

select configured.activity_type
from configured
left join occurring on configured.activity_type = occurring.activity_type
where configured.activity_type is not null
    and occurring.activity_type is null
    -- without any activity there is nothing to compare with
    and exists (select 1 from {{ ref('activity_log') }})

-- A type that is configured and never occurs is a slip of the pen: of churn's it would make everybody churn, of purchases none
-- would be left. A purchase has an item.
{%- set churn_types = caspr.churn().activity_types or [] %}
{%- set recommendation = caspr.recommendation() %}
{%- set purchase_types = (recommendation.activity_types or []) if recommendation.item else [] %}

with

configured as (
    select
        {{ caspr.cast_categorical('null') }} as setting,
        {{ caspr.cast_categorical('null') }} as activity_type
    {%- for type in churn_types %}
    union all
    select
        'churn.activity_types' as setting,
        {{ caspr.text_literal(type) }} as activity_type
    {%- endfor %}
    {%- for type in purchase_types %}
    union all
    select
        'recommendation.activity_types' as setting,
        {{ caspr.text_literal(type) }} as activity_type
    {%- endfor %}
),

occurring as (
    select distinct
        'churn.activity_types' as setting,
        activity_type
    from {{ ref('activity_log') }}
    {%- if purchase_types %}
    union all
    select distinct
        'recommendation.activity_types' as setting,
        activities.activity_type
    from {{ ref('activity_log') }} as activities
    where {{ caspr.is_purchase('activities') | indent(4) }}
    {%- endif %}
)

select
    configured.setting,
    configured.activity_type
from configured
left join occurring
    on configured.setting = occurring.setting
    and configured.activity_type = occurring.activity_type
where configured.activity_type is not null
    and occurring.activity_type is null
    -- without any activity there is nothing to compare with
    and exists (select 1 from {{ ref('activity_log') }})

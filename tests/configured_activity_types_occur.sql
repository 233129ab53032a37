-- A type that is configured and never occurs, for a purchase with an item, is a slip of the pen, or not yet there: a warning that
-- names it. Where none of a setting's types occurs the build stops: everybody would churn, or nothing would be bought.
{{ config(fail_calc='coalesce(max(gravity), 0)', warn_if='> 0', error_if='> 1') }}
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
),

compared as (
    select
        configured.setting,
        configured.activity_type,
        occurring.activity_type is not null as occurs,
        count(occurring.activity_type) over (partition by configured.setting) as occurring_count
    from configured
    left join occurring
        on configured.setting = occurring.setting
        and configured.activity_type = occurring.activity_type
    where configured.activity_type is not null
)

select
    setting,
    activity_type,
    case when occurring_count = 0 then 2 else 1 end as gravity
from compared
where not occurs
    -- without any activity there is nothing to compare with
    and exists (select 1 from {{ ref('activity_log') }})

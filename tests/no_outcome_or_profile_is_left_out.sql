-- A warning, with the counts: observed outcomes that do not say of whom, when or whether, purchases that do not say of whom, when
-- or what, and profiles of nobody.
{%- set observed = caspr.churn().observed %}
{%- set purchases = caspr.recommendation().purchases %}
{%- set profile = caspr.profile() %}
{{ config(severity='warn', enabled=(observed or purchases or profile) is not none) }}

with

left_out as (
    {%- if observed %}
    select
        'churn.observed' as setting,
        rejection
    from (
        {{ caspr.source_outcomes(observed) | indent(8) }}
    ) as source_outcomes
    where rejection is not null
    {%- endif %}
    {%- if observed and purchases %}
    union all
    {%- endif %}
    {%- if purchases %}
    select
        'recommendation.purchases' as setting,
        rejection
    from (
        {{ caspr.source_purchases(purchases) | indent(8) }}
    ) as source_purchases
    where rejection is not null
    {%- endif %}
    {%- if (observed or purchases) and profile %}
    union all
    {%- endif %}
    {%- if profile %}
    select
        'profile' as setting,
        case when customer_id is null then 'null_customer_id' else 'empty_customer_id' end as rejection
    from (
        select {{ caspr.key_of(profile.customer_id) }} as customer_id
        from {{ caspr.configured_model(profile) }}
    ) as profiles
    where customer_id is null or customer_id = ''
    {%- endif %}
)

select
    setting,
    rejection,
    count(*) as row_count
from left_out
group by setting, rejection

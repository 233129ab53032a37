-- A warning, with the counts: observed outcomes and fraud reports that do not say of whom, when or whether, frauds known before
-- they happened, purchases that do not say of whom, when or what, and profiles of nobody.
{%- set observed = caspr.churn().observed %}
{%- set fraud = caspr.fraud() %}
{%- set purchases = caspr.recommendation().purchases %}
{%- set profile = caspr.profile() %}
{{ config(severity='warn', enabled=(observed or fraud or purchases or profile) is not none) }}

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
    {%- if observed and (fraud or purchases or profile) %}
    union all
    {%- endif %}
    {%- if fraud %}
    select
        'fraud' as setting,
        rejection
    from (
        {{ caspr.source_fraud_reports(fraud) | indent(8) }}
    ) as source_reports
    where rejection is not null
    {%- endif %}
    {%- if fraud and (purchases or profile) %}
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
    {%- if purchases and profile %}
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

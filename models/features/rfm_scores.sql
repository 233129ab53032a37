-- RFM as marketing and as buy-till-you-die models define it, side by side; scores from 1 to 5, and segments with names.
-- Ranks are relative to everybody, so this mart is built whole.
{%- set monetary = caspr.attribute_with_role('monetary') %}
{%- set period = caspr.rfm_period() %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

pairs as (
    select * from {{ ref('customer_cutoffs') }}
),

{{ caspr.known_activities() }},

amounts as (
    select
        customer_id,
        cutoff_at,
        occurred_at,
        {{ caspr.period_start(period, 'occurred_at') }} as period_at,
        {% if monetary -%}
        {{ caspr.finite(caspr.quoted(monetary.name)) }} as amount
        {%- else -%}
        {{ caspr.cast_numerical('0') }} as amount
        {%- endif %}
    from known_activities
),

-- A purchase has an amount of at least 0; a refund is no purchase, but is taken off the spend of its period.
periods as (
    select
        customer_id,
        cutoff_at,
        period_at,
        max(case when amount >= 0 then occurred_at end) as last_purchase_at,
        sum(amount) as spend
    from amounts
    where amount is not null
    group by customer_id, cutoff_at, period_at
),

purchase_periods as (
    select
        *,
        row_number() over (partition by customer_id, cutoff_at order by period_at) as period_number
    from periods
    where last_purchase_at is not null
),

purchases as (
    select
        customer_id,
        cutoff_at,
        count(*) as period_count,
        min(period_at) as first_period_at,
        max(period_at) as last_period_at,
        max(last_purchase_at) as last_purchase_at,
        sum(case when period_number > 1 then spend end) as repeat_spend
    from purchase_periods
    group by customer_id, cutoff_at
),

spending as (
    select
        customer_id,
        cutoff_at,
        sum(spend) as spend
    from periods
    group by customer_id, cutoff_at
),

-- The period in which the last instant before the cutoff lies.
observed as (
    select
        pairs.customer_id,
        pairs.cutoff_at,
        {{ caspr.period_start(period,
            'case when ' ~ caspr.period_start('day', 'pairs.cutoff_at') ~ ' = pairs.cutoff_at then '
            ~ caspr.add_days('pairs.cutoff_at', -1) ~ ' else pairs.cutoff_at end'
        ) }} as last_period_at
    from pairs
),

summaries as (
    select
        observed.customer_id,
        observed.cutoff_at,
        {{ caspr.days_between('purchases.last_purchase_at', 'observed.cutoff_at') }} as recency_days,
        coalesce(purchases.period_count, 0) as frequency,
        {{ 'coalesce(spending.spend, 0)' if monetary else caspr.cast_numerical('null') }} as spend,
        purchases.period_count - 1 as repeat_count,
        {{ caspr.periods_between(period, 'purchases.first_period_at', 'purchases.last_period_at') }} as repeat_recency,
        {{ caspr.periods_between(period, 'purchases.first_period_at', 'observed.last_period_at') }} as age,
        {% if monetary -%}
        case
            when purchases.period_count > 1 then purchases.repeat_spend / (purchases.period_count - 1)
            when purchases.period_count = 1 then 0
        end as repeat_spend_mean
        {%- else -%}
        {{ caspr.cast_numerical('null') }} as repeat_spend_mean
        {%- endif %}
    from observed
    left join purchases
        on observed.customer_id = purchases.customer_id and observed.cutoff_at = purchases.cutoff_at
    left join spending
        on observed.customer_id = spending.customer_id and observed.cutoff_at = spending.cutoff_at
),

rounded as (
    select
        customer_id,
        cutoff_at,
        {{ caspr.rounded('recency_days') }} as recency_days,
        frequency,
        {{ caspr.rounded('spend') }} as spend,
        repeat_count,
        repeat_recency,
        age,
        {{ caspr.rounded(caspr.cast_numerical('repeat_spend_mean')) }} as repeat_spend_mean
    from summaries
),

-- How many buyers of the cutoff are worse and how many are better. Who never bought has no place among them.
compared as (
    select
        *,
        {%- set best_first = [('recency_days', 'asc', 'desc'), ('frequency', 'desc', 'asc'), ('spend', 'desc', 'asc')] %}
        {%- for name, better, worse in best_first %}
        {%- for count, direction in [('better', better), ('worse', worse)] %}
        rank() over (
            partition by cutoff_at, case when frequency > 0 then 1 else 0 end order by {{ name }} {{ direction }}
        ) - 1 as {{ name }}_{{ count }}{{ ',' if not loop.last }}
        {%- endfor %}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from rounded
),

-- The share of those worse among those who differ: equals share a score, the best are never the worst for being many, nor the
-- worst the best. Where nobody differs the score says nothing, which is the middle.
scored as (
    select
        *,
        {%- for name in ['recency_days', 'frequency', 'spend'] %}
        {%- set worse = name ~ '_worse' %}
        {%- set different = '(' ~ name ~ '_worse + ' ~ name ~ '_better)' %}
        case
            when frequency = 0{{ ' or spend is null' if name == 'spend' }} then null
            when {{ different }} = 0 then 3
            when 5 * {{ worse }} >= 4 * {{ different }} then 5
            when 5 * {{ worse }} >= 3 * {{ different }} then 4
            when 5 * {{ worse }} >= 2 * {{ different }} then 3
            when 5 * {{ worse }} >= {{ different }} then 2
            else 1
        end as {{ name }}_score{{ ',' if not loop.last }}
        {%- endfor %}
    from compared
),

final as (
    select
        customer_id,
        cutoff_at,
        {{ caspr.cast_numerical('recency_days') }} as marketing_recency_days,
        cast(frequency as {{ dbt.type_bigint() }}) as marketing_frequency,
        {{ caspr.cast_numerical('spend') }} as marketing_monetary_value,
        cast(repeat_count as {{ dbt.type_bigint() }}) as btyd_frequency,
        cast(repeat_recency as {{ dbt.type_bigint() }}) as btyd_recency,
        cast(age as {{ dbt.type_bigint() }}) as btyd_t,
        {{ caspr.cast_numerical('repeat_spend_mean') }} as btyd_monetary_value,
        cast(recency_days_score as integer) as recency_score,
        cast(frequency_score as integer) as frequency_score,
        cast(spend_score as integer) as monetary_score,
        case
            when frequency = 0 then 'no_purchase'
            when recency_days_score >= 4 and frequency_score >= 4 then 'champion'
            when recency_days_score >= 3 and frequency_score >= 3 then 'loyal'
            when recency_days_score >= 4 and frequency_score >= 2 then 'potential_loyal'
            when recency_days_score >= 4 then 'new'
            when recency_days_score = 3 then 'needs_attention'
            when recency_days_score = 1 and frequency_score >= 4 then 'cannot_lose'
            when frequency_score >= 3 then 'at_risk'
            when recency_days_score = 2 then 'hibernating'
            else 'lost'
        end as segment
    from scored
)

select
    customer_id,
    cutoff_at,
    marketing_recency_days,
    marketing_frequency,
    marketing_monetary_value,
    btyd_frequency,
    btyd_recency,
    btyd_t,
    btyd_monetary_value,
    recency_score,
    frequency_score,
    monetary_score,
    {{ caspr.cast_categorical('segment') }} as segment
from final

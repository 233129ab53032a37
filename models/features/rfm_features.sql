-- Recency, frequency and money of each customer before each cutoff: the paper's Table 2 and what makes it a strong baseline.
-- Two aggregations of the log (customer, and customer x active day); all the rest is made of the days, which are few.
{%- set monetary = caspr.attribute_with_role('monetary') %}
{%- set windows = [30, 90, 180, 365] %}

with

activity_log as (
    select
        customer_id,
        occurred_at,
        seconds_since_previous / 86400.0 as gap_days,
        {% if monetary -%}
        {{ caspr.finite(caspr.quoted(monetary.name)) }} as money
        {%- else -%}
        {{ caspr.cast_numerical('null') }} as money
        {%- endif %}
    from {{ ref('activity_log') }}
),

cutoffs as (
    select
        cutoff_at
        {%- for days in windows %},
        {{ dbt.dateadd('day', -days, 'cutoff_at') }} as last_{{ days }}_days_from
        {%- endfor %}
    from {{ ref('cutoffs') }}
),

activities as (
    select
        activity_log.customer_id,
        activity_log.occurred_at,
        activity_log.gap_days,
        activity_log.money,
        cutoffs.*
    from activity_log
    inner join cutoffs on {{ caspr.before_cutoff('activity_log.occurred_at', 'cutoffs.cutoff_at') }}
),

activity_statistics as (
    select
        customer_id,
        cutoff_at,
        count(*) as activity_count,
        min(occurred_at) as first_at,
        max(occurred_at) as last_at,
        min(gap_days) as gap_min,
        max(gap_days) as gap_max,
        avg(gap_days) as gap_mean,
        stddev_samp(gap_days) as gap_sd,
        count(money) as monetary_count,
        min(case when money is not null then occurred_at end) as first_monetary_at,
        max(case when money is not null then occurred_at end) as last_monetary_at,
        min(money) as money_min,
        max(money) as money_max,
        avg(money) as money_mean,
        stddev_samp(money) as money_sd,
        coalesce(sum(money), 0) as money_sum,
        sum(case when money < 0 then 1 else 0 end) as refund_count
        {%- for days in windows %},
        sum(case when occurred_at >= last_{{ days }}_days_from then 1 else 0 end) as activity_count_{{ days }},
        count(case when occurred_at >= last_{{ days }}_days_from then money end) as monetary_count_{{ days }},
        coalesce(sum(case when occurred_at >= last_{{ days }}_days_from then money end), 0) as money_sum_{{ days }}
        {%- endfor %}
    from activities
    group by customer_id, cutoff_at
),

active_days as (
    select
        customer_id,
        cutoff_at,
        {{ dbt.date_trunc('day', 'occurred_at') }} as day_at,
        count(*) as activity_count,
        count(money) > 0 as is_monetary,
        sum(money) as spend
    from activities
    group by customer_id, cutoff_at, {{ dbt.date_trunc('day', 'occurred_at') }}
),

-- The gaps between days, and apart from them those between the days on which money moved.
-- Lines of one order share their time, so the gaps between activities are mostly zeros; those between days are not.
-- All four look along one and the same order, which is therefore sorted once.
days_with_neighbours as (
    select
        customer_id,
        cutoff_at,
        day_at,
        activity_count,
        is_monetary,
        spend,
        lag(day_at) over (partition by customer_id, cutoff_at order by day_at) as previous_day_at,
        lead(day_at) over (partition by customer_id, cutoff_at order by day_at) is null as is_latest,
        max(case when is_monetary then day_at end) over (
            partition by customer_id, cutoff_at order by day_at rows between unbounded preceding and 1 preceding
        ) as previous_monetary_day_at,
        max(case when is_monetary then day_at end) over (
            partition by customer_id, cutoff_at order by day_at rows between 1 following and unbounded following
        ) is null as is_latest_monetary
    from active_days
),

days_with_gaps as (
    select
        customer_id,
        cutoff_at,
        activity_count,
        is_monetary,
        spend,
        is_latest,
        is_latest_monetary,
        {{ caspr.days_between('previous_day_at', 'day_at') }} as gap_days,
        case when is_monetary then {{ caspr.days_between('previous_monetary_day_at', 'day_at') }} end as monetary_gap_days
    from days_with_neighbours
),

day_statistics as (
    select
        customer_id,
        cutoff_at,
        count(*) as day_count,
        avg(activity_count) as activities_mean,
        stddev_samp(activity_count) as activities_sd,
        max(activity_count) as activities_max,
        min(gap_days) as gap_min,
        max(gap_days) as gap_max,
        avg(gap_days) as gap_mean,
        stddev_samp(gap_days) as gap_sd,
        max(case when is_latest then gap_days end) as latest_gap,
        sum(case when is_monetary then 1 else 0 end) as monetary_day_count,
        avg(spend) as spend_mean,
        stddev_samp(spend) as spend_sd,
        max(spend) as spend_max,
        min(monetary_gap_days) as monetary_gap_min,
        max(monetary_gap_days) as monetary_gap_max,
        avg(monetary_gap_days) as monetary_gap_mean,
        stddev_samp(monetary_gap_days) as monetary_gap_sd,
        max(case when is_latest_monetary then monetary_gap_days end) as latest_monetary_gap
    from days_with_gaps
    group by customer_id, cutoff_at
),

{% for unit in ['week', 'month'] -%}
active_{{ unit }}s as (
    select
        customer_id,
        cutoff_at,
        {{ dbt.date_trunc(unit, 'day_at') }} as {{ unit }}_at,
        sum(activity_count) as activity_count
    from active_days
    group by customer_id, cutoff_at, {{ dbt.date_trunc(unit, 'day_at') }}
),

{{ unit }}_statistics as (
    select
        customer_id,
        cutoff_at,
        count(*) as {{ unit }}_count,
        avg(activity_count) as activities_mean,
        stddev_samp(activity_count) as activities_sd,
        max(activity_count) as activities_max
    from active_{{ unit }}s
    group by customer_id, cutoff_at
),

{% endfor -%}
joined as (
    select
        activity.*,
        {{ caspr.days_between('activity.first_at', 'activity.cutoff_at') }} as age_days,
        {{ caspr.days_between('activity.last_at', 'activity.cutoff_at') }} as recency_days,
        {{ caspr.days_between('activity.first_monetary_at', 'activity.cutoff_at') }} as monetary_age_days,
        {{ caspr.days_between('activity.last_monetary_at', 'activity.cutoff_at') }} as monetary_recency_days,
        days.day_count,
        days.activities_mean as day_activities_mean,
        days.activities_sd as day_activities_sd,
        days.activities_max as day_activities_max,
        days.gap_min as day_gap_min,
        days.gap_max as day_gap_max,
        days.gap_mean as day_gap_mean,
        days.gap_sd as day_gap_sd,
        days.latest_gap as latest_day_gap,
        days.monetary_day_count,
        days.spend_mean as day_spend_mean,
        days.spend_sd as day_spend_sd,
        days.spend_max as day_spend_max,
        days.monetary_gap_min,
        days.monetary_gap_max,
        days.monetary_gap_mean,
        days.monetary_gap_sd,
        days.latest_monetary_gap
        {%- for unit in ['week', 'month'] %},
        {{ unit }}s.{{ unit }}_count,
        {{ unit }}s.activities_mean as {{ unit }}_activities_mean,
        {{ unit }}s.activities_sd as {{ unit }}_activities_sd,
        {{ unit }}s.activities_max as {{ unit }}_activities_max
        {%- endfor %}
    from activity_statistics as activity
    inner join day_statistics as days
        on activity.customer_id = days.customer_id and activity.cutoff_at = days.cutoff_at
    inner join week_statistics as weeks
        on activity.customer_id = weeks.customer_id and activity.cutoff_at = weeks.cutoff_at
    inner join month_statistics as months
        on activity.customer_id = months.customer_id and activity.cutoff_at = months.cutoff_at
),

{#- Name of the feature: its expression. Counts are bigint, everything else is a rounded double. #}
{%- set counts = {
    'activity_count': 'activity_count',
    'activity_count_last_30_days': 'activity_count_30',
    'activity_count_last_90_days': 'activity_count_90',
    'activity_count_last_180_days': 'activity_count_180',
    'activity_count_last_365_days': 'activity_count_365',
    'active_day_count': 'day_count',
    'active_week_count': 'week_count',
    'active_month_count': 'month_count',
    'monetary_activity_count': 'monetary_count',
    'monetary_activity_count_last_30_days': 'monetary_count_30',
    'monetary_activity_count_last_90_days': 'monetary_count_90',
    'monetary_activity_count_last_180_days': 'monetary_count_180',
    'monetary_activity_count_last_365_days': 'monetary_count_365',
    'refund_count': 'refund_count',
    'monetary_day_count': 'monetary_day_count',
} %}
{%- set measures = {
    'days_since_last_activity': 'recency_days',
    'days_since_first_activity': 'age_days',
    'days_between_first_and_last_activity': 'age_days - recency_days',
    'days_between_activities_min': 'gap_min',
    'days_between_activities_max': 'gap_max',
    'days_between_activities_mean': 'gap_mean',
    'days_between_activities_sd': 'gap_sd',
    'days_between_active_days_min': 'day_gap_min',
    'days_between_active_days_max': 'day_gap_max',
    'days_between_active_days_mean': 'day_gap_mean',
    'days_between_active_days_sd': 'day_gap_sd',
    'days_between_latest_active_days': 'latest_day_gap',
    'latest_to_mean_active_day_gap_ratio': 'latest_day_gap / nullif(day_gap_mean, 0)',
    'recency_to_mean_active_day_gap_ratio': 'recency_days / nullif(day_gap_mean, 0)',
    'activities_per_active_day_mean': 'day_activities_mean',
    'activities_per_active_day_sd': 'day_activities_sd',
    'activities_per_active_day_max': 'day_activities_max',
    'activities_per_active_week_mean': 'week_activities_mean',
    'activities_per_active_week_sd': 'week_activities_sd',
    'activities_per_active_week_max': 'week_activities_max',
    'activities_per_active_month_mean': 'month_activities_mean',
    'activities_per_active_month_sd': 'month_activities_sd',
    'activities_per_active_month_max': 'month_activities_max',
    'days_since_last_monetary_activity': 'monetary_recency_days',
    'days_since_first_monetary_activity': 'monetary_age_days',
    'days_between_first_and_last_monetary_activity': 'monetary_age_days - monetary_recency_days',
    'days_between_monetary_days_min': 'monetary_gap_min',
    'days_between_monetary_days_max': 'monetary_gap_max',
    'days_between_monetary_days_mean': 'monetary_gap_mean',
    'days_between_monetary_days_sd': 'monetary_gap_sd',
    'days_between_latest_monetary_days': 'latest_monetary_gap',
    'latest_to_mean_monetary_day_gap_ratio': 'latest_monetary_gap / nullif(monetary_gap_mean, 0)',
    'recency_to_mean_monetary_day_gap_ratio': 'monetary_recency_days / nullif(monetary_gap_mean, 0)',
    'spend_min': 'money_min',
    'spend_max': 'money_max',
    'spend_mean': 'money_mean',
    'spend_sd': 'money_sd',
    'spend_sum': 'money_sum',
    'spend_last_30_days': 'money_sum_30',
    'spend_last_90_days': 'money_sum_90',
    'spend_last_180_days': 'money_sum_180',
    'spend_last_365_days': 'money_sum_365',
    'spend_per_monetary_day_mean': 'day_spend_mean',
    'spend_per_monetary_day_sd': 'day_spend_sd',
    'spend_per_monetary_day_max': 'day_spend_max',
    'spend_per_week': 'money_sum / (case when age_days > 7 then age_days / 7.0 else 1 end)',
    'spend_per_month': 'money_sum / (case when age_days > 30.4375 then age_days / 30.4375 else 1 end)',
    'spend_per_year': 'money_sum / (case when age_days > 365.25 then age_days / 365.25 else 1 end)',
} %}

final as (
    select
        customer_id,
        cutoff_at
        {%- for name, expression in counts.items() %},
        cast({{ expression }} as {{ dbt.type_bigint() }}) as {{ name }}
        {%- endfor %}
        {%- for name, expression in measures.items() %},
        {{ caspr.rounded(caspr.cast_numerical(expression)) }} as {{ name }}
        {%- endfor %}
    from joined
)

select
    customer_id,
    cutoff_at
    {%- for name in counts %},
    {{ name }}
    {%- endfor %}
    {%- for name in measures %},
    {{ name }}
    {%- endfor %}
from final

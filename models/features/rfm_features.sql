-- Recency, frequency and money of each customer before each cutoff: the paper's Table 2 and what makes it a strong baseline.
-- What holds at every cutoff (the gaps between active days, how many activities the day, week and month have had so far) is
-- put beside each activity once; a pair of customer and cutoff is then one aggregation of the activities before it.
{{ config(
    materialized=caspr.incremental_or_table(),
    incremental_strategy=caspr.incremental_strategy(),
    on_schema_change='append_new_columns',
    pre_hook="{{ caspr.delete_stale(ref('customer_cutoffs'), ['customer_id', 'cutoff_at']) }}",
) }}
{%- set monetary = caspr.attribute_with_role('monetary') %}
{%- set windows = [30, 90, 180, 365] %}
{#- Whose activities are ordered together: all pairs of a customer know the beginning of one and the same order, unless what was
    loaded late makes it another at every cutoff. #}
{%- set knows_loads = caspr.knows_loads() %}
{%- set owner = 'customer_id, cutoff_at' if knows_loads else 'customer_id' %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

-- The rows to build.
pairs as (
    select * from customer_cutoffs
    where {{ caspr.missing_from_this('customer_cutoffs', ['customer_id', 'cutoff_at']) | indent(4) }}
),

{% if knows_loads -%}
{{ caspr.known_activities() }},

{% endif -%}
activities as (
    select
        {{ owner }},
        occurred_at,
        activity_number,
        seconds_since_previous / 86400.0 as gap_days,
        {{ caspr.period_start('day', 'occurred_at') }} as day_at,
        {% if monetary -%}
        {{ caspr.finite(caspr.quoted(monetary.name)) }} as money
        {%- else -%}
        {{ caspr.cast_numerical('null') }} as money
        {%- endif %}
    {% if knows_loads -%}
    from known_activities
    {%- else -%}
    from activity_log
    {%- if is_incremental() %}
    where customer_id in (select customer_id from pairs)
    {%- endif %}
    {%- endif %}
),

-- A cutoff may lie within a day: the spend is that of the day up to and with this activity.
within_days as (
    select
        *,
        sum(money) over (
            partition by {{ owner }}, day_at order by activity_number rows between unbounded preceding and current row
        ) as day_spend
    from activities
),

-- The rank of a week is one more than the activities before it. These windows come last because they leave the activities of a
-- customer side by side, where the aggregation by pairs is several times as fast; one order serves weeks, days and activities.
numbered as (
    select
        *,
        row_number() over (
            partition by {{ owner }} order by {{ caspr.period_start('week', 'occurred_at') }}, day_at, activity_number
        ) as activity_rank,
        rank() over (partition by {{ owner }} order by {{ caspr.period_start('week', 'occurred_at') }}, day_at) as day_rank,
        rank() over (partition by {{ owner }} order by {{ caspr.period_start('week', 'occurred_at') }}) as week_rank,
        rank() over (partition by {{ owner }} order by {{ caspr.period_start('month', 'occurred_at') }}) as month_rank,
        lead(occurred_at) over (
            partition by {{ owner }} order by {{ caspr.period_start('week', 'occurred_at') }}, day_at, activity_number
        ) as next_at,
        lag(day_at) over (
            partition by {{ owner }} order by {{ caspr.period_start('week', 'occurred_at') }}, day_at, activity_number
        ) as previous_day_at,
        max(case when money is not null then day_at end) over (
            partition by {{ owner }} order by {{ caspr.period_start('week', 'occurred_at') }}, day_at, activity_number
            rows between unbounded preceding and 1 preceding
        ) as previous_monetary_day_at
    from within_days
),

-- A gap between days stands at the first activity of the later one. The lines of one order share their time, so the gaps between
-- activities are mostly zeros; those between days are not.
described as (
    select
        {{ owner }},
        occurred_at,
        gap_days,
        money,
        case when money is not null then occurred_at end as monetary_at,
        case when money is not null then day_at end as monetary_day_at,
        day_at,
        case when previous_day_at < day_at then previous_day_at end as previous_day_at,
        case when previous_day_at < day_at then {{ caspr.days_between('previous_day_at', 'day_at') }} end as day_gap_days,
        case
            when money is not null and previous_monetary_day_at < day_at then previous_monetary_day_at
        end as previous_monetary_day_at,
        case
            when money is not null and previous_monetary_day_at < day_at
                then {{ caspr.days_between('previous_monetary_day_at', 'day_at') }}
        end as monetary_gap_days,
        day_spend,
        case when {{ caspr.period_start('day', 'next_at') }} = day_at then next_at end as next_in_day_at
        {%- for unit in ['day', 'week', 'month'] %},
        activity_rank - {{ unit }}_rank + 1 as number_in_{{ unit }}
        {%- endfor %}
    from numbered
),

pairs_with_windows as (
    select
        customer_id,
        cutoff_at
        {%- for days in windows %},
        {{ caspr.add_days('cutoff_at', -days) }} as last_{{ days }}_days_from
        {%- endfor %}
    from pairs
),

known as (
    select
        described.*,
        {% if not knows_loads -%}
        pairs.cutoff_at,
        {%- endif %}
        -- at the last activity of a day that the cutoff knows
        case
            when described.next_in_day_at is null or described.next_in_day_at >= pairs.cutoff_at then described.day_spend
        end as spend
        {%- for days in windows %},
        described.occurred_at >= pairs.last_{{ days }}_days_from as is_in_last_{{ days }}
        {%- endfor %}
    from pairs_with_windows as pairs
    inner join described
        on pairs.customer_id = described.customer_id
        {% if knows_loads -%}
        and pairs.cutoff_at = described.cutoff_at
        {%- else -%}
        and {{ caspr.before_cutoff('described.occurred_at', 'pairs.cutoff_at') }}
        {%- endif %}
),

-- The odd numbers up to 2n - 1 add up to n squared, so the last sums are those of the squared counts of days, weeks and months.
statistics as (
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
        min(monetary_at) as first_monetary_at,
        max(monetary_at) as last_monetary_at,
        min(money) as money_min,
        max(money) as money_max,
        avg(money) as money_mean,
        stddev_samp(money) as money_sd,
        coalesce(sum(money), 0) as money_sum,
        sum(case when money < 0 then 1 else 0 end) as refund_count
        {%- for days in windows %},
        sum(case when is_in_last_{{ days }} then 1 else 0 end) as activity_count_{{ days }},
        count(case when is_in_last_{{ days }} then money end) as monetary_count_{{ days }},
        coalesce(sum(case when is_in_last_{{ days }} then money end), 0) as money_sum_{{ days }}
        {%- endfor %},
        max(day_at) as last_day_at,
        max(previous_day_at) as day_before_last_at,
        min(day_gap_days) as day_gap_min,
        max(day_gap_days) as day_gap_max,
        avg(day_gap_days) as day_gap_mean,
        stddev_samp(day_gap_days) as day_gap_sd,
        max(monetary_day_at) as last_monetary_day_at,
        max(previous_monetary_day_at) as monetary_day_before_last_at,
        min(monetary_gap_days) as monetary_gap_min,
        max(monetary_gap_days) as monetary_gap_max,
        avg(monetary_gap_days) as monetary_gap_mean,
        stddev_samp(monetary_gap_days) as monetary_gap_sd,
        count(spend) as monetary_day_count,
        avg(spend) as day_spend_mean,
        stddev_samp(spend) as day_spend_sd,
        max(spend) as day_spend_max
        {%- for unit in ['day', 'week', 'month'] %},
        sum(case when number_in_{{ unit }} = 1 then 1 else 0 end) as {{ unit }}_count,
        max(number_in_{{ unit }}) as {{ unit }}_activities_max,
        sum(2 * number_in_{{ unit }} - 1) as {{ unit }}_activities_squared
        {%- endfor %}
    from known
    group by customer_id, cutoff_at
),

measured as (
    select
        *,
        {{ caspr.days_between('first_at', 'cutoff_at') }} as age_days,
        {{ caspr.days_between('last_at', 'cutoff_at') }} as recency_days,
        {{ caspr.days_between('first_monetary_at', 'cutoff_at') }} as monetary_age_days,
        {{ caspr.days_between('last_monetary_at', 'cutoff_at') }} as monetary_recency_days,
        {{ caspr.days_between('day_before_last_at', 'last_day_at') }} as latest_day_gap,
        {{ caspr.days_between('monetary_day_before_last_at', 'last_monetary_day_at') }} as latest_monetary_gap
        {#- Whole numbers, exact below 2^53; beyond it abs keeps the root of what should be 0 from failing. #}
        {%- set total = caspr.cast_numerical('activity_count') %}
        {%- for unit in ['day', 'week', 'month'] %}
        {%- set count = caspr.cast_numerical(unit ~ '_count') %}
        {%- set squared = caspr.cast_numerical(unit ~ '_activities_squared') %},
        {{ total }} / {{ count }} as {{ unit }}_activities_mean,
        case
            when {{ unit }}_count > 1
                then sqrt(abs({{ count }} * {{ squared }} - {{ total }} * {{ total }}) / ({{ count }} * ({{ count }} - 1)))
        end as {{ unit }}_activities_sd
        {%- endfor %}
    from statistics
),

{#- Name of the feature: its expression. Counts are bigint, everything else is a rounded double. #}
{%- set counts = {
    'activity_count': 'measured.activity_count',
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
        measured.customer_id,
        measured.cutoff_at
        {%- for name, expression in counts.items() %},
        cast({{ expression }} as {{ dbt.type_bigint() }}) as {{ name }}
        {%- endfor %}
        {%- for name, expression in measures.items() %},
        {{ caspr.rounded(caspr.cast_numerical(expression)) }} as {{ name }}
        {%- endfor %},
        pairs.customer_fingerprint
    from measured
    inner join pairs on measured.customer_id = pairs.customer_id and measured.cutoff_at = pairs.cutoff_at
)

select
    customer_id,
    cutoff_at
    {%- for name in counts %},
    {{ name }}
    {%- endfor %}
    {%- for name in measures %},
    {{ name }}
    {%- endfor %},
    customer_fingerprint
from final

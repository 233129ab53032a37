-- What the settings say of each task that a Python model needs to know, which cannot read them.
-- After the mart that stops at a wrong column, so that this leaves no mart behind. depends_on: {{ ref('rejected_activities') }}
{%- set period = caspr.rfm_period() %}
{%- set purchases = {
    'churn': not caspr.churn().observed,
    'lifetime_value': caspr.is_asked('lifetime_value'),
} %}

with

final as (
    {%- for task in caspr.tasks() %}
    select
        {{ caspr.text_literal(task) }} as task,
        cast({{ caspr.horizon_days(task) }} as integer) as horizon_days,
        {{ caspr.text_literal(period) }} as rfm_period,
        {{ 'true' if purchases.get(task) else 'false' }} as is_about_purchases,
        {{ caspr.text_literal(caspr.task_settings_hash(task)) }} as settings_hash
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select
    task,
    horizon_days,
    rfm_period,
    is_about_purchases,
    settings_hash
from final

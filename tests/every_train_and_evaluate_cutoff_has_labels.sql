-- A warning that names the cutoffs whose outcome is not known yet: nothing is fitted or measured there. Of the cutoffs that
-- follow from as_of and the horizon there are none such.
{{ config(severity='warn') }}
{%- set tasks = [] %}
{%- for task in caspr.tasks() if caspr.is_asked(task) %}
    {%- do tasks.append(task) %}
{%- endfor %}

with

cutoffs as (
    select * from {{ ref('cutoffs') }}
)

{%- for task in tasks %}
select
    {{ caspr.text_literal(task) }} as task,
    cutoff_at,
    role,
    {{ caspr.horizon_days(task) }} as horizon_days,
    as_of,
    'cutoffs: earlier ones; as_of: later; horizon_days of the task: fewer' as mend
from cutoffs
where role <> 'score'
    and {{ caspr.add_days('cutoff_at', caspr.horizon_days(task)) }} > as_of
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}

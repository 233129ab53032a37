-- A warning, with the counts: rows that are wrong. Rows that are not known yet, and older loads of a row, are no fault.
{{ config(severity='warn') }}
{%- set with_loads = [0] %}
{%- for stream in caspr.streams() if stream.loaded_at %}
    {%- do with_loads.append(stream.rank) %}
{%- endfor %}
select
    stream,
    rejection,
    count(*) as activity_count
from {{ ref('rejected_activities') }}
where rejection not in ('at_or_after_as_of', 'loaded_at_or_after_as_of')
    and not (rejection = 'repeated_activity_id' and stream_rank in ({{ with_loads | join(', ') }}))
group by stream, rejection

-- What the activities were about, without hand work: counts, shares and silence of the most frequent values of each attribute.
-- An honest rival of the embeddings: whatever these simple summaries hold needs no transformer.
{{ config(
    materialized=caspr.incremental_or_table(),
    incremental_strategy=caspr.incremental_strategy(),
    on_schema_change='sync_all_columns',
    pre_hook="{{ caspr.delete_stale(
        '(' ~ caspr.content_pairs(ref('customer_cutoffs'), ref('attribute_values')) ~ ')', ['customer_id', 'cutoff_at']
    ) }}",
) }}
{%- set attributes = caspr.categorical_attributes() %}
{%- set ranks = range(1, caspr.content_values() + 1) %}
{%- set sequence_length = caspr.positive_integer('sequence_length', 15) %}

with

activity_log as (
    select * from {{ ref('activity_log') }}
),

attribute_values as (
    select * from {{ ref('attribute_values') }}
),

all_pairs as (
    {{ caspr.content_pairs(ref('customer_cutoffs'), 'attribute_values') | indent(4) }}
),

pairs as (
    select * from all_pairs
    where {{ caspr.missing_from_this('all_pairs', ['customer_id', 'cutoff_at']) | indent(4) }}
),

{{ caspr.known_activities() }},

{% for name in attributes -%}
{{ name }}_counts as (
    select
        customer_id,
        cutoff_at,
        {{ caspr.quoted(name) }} as attribute_value,
        count(*) as history_count,
        sum(case when activity_number > activity_count - {{ sequence_length }} then 1 else 0 end) as sequence_count,
        {{ caspr.days_between('max(occurred_at)', 'cutoff_at') }} as days_since_last
    from known_activities
    where {{ caspr.quoted(name) }} is not null
    group by customer_id, cutoff_at, {{ caspr.quoted(name) }}
),

{{ name }}_ranked as (
    select
        {{ name }}_counts.*,
        attribute_values.value_rank
    from {{ name }}_counts
    left join attribute_values
        on {{ name }}_counts.attribute_value = attribute_values.attribute_value
        and attribute_values.attribute_name = {{ caspr.text_literal(name) }}
),

{{ name }}_summaries as (
    select
        customer_id,
        cutoff_at,
        {#- No wider than need be: all attributes' summaries are held in memory at once, to be joined. -#}
        {%- for count in ['history_count', 'sequence_count'] %}
        {{ caspr.cast_numerical('sum(' ~ count ~ ')') }} as {{ count }},
        cast(count(case when {{ count }} > 0 then 1 end) as {{ dbt.type_int() }}) as {{ count }}_distinct,
        {#- The entropy of the shares c / n is ln(n) - sum(c ln(c)) / n, in nats. -#}
        sum(case when {{ count }} > 0 then {{ count }} * ln({{ count }}) else 0 end) as {{ count }}_log_sum,
        {%- for rank in ranks %}
        cast(max(case when value_rank = {{ rank }} then {{ count }} end) as {{ dbt.type_int() }}) as {{ count }}_{{ rank }},
        {%- endfor %}
        {%- endfor %}
        {%- for rank in ranks %}
        max(case when value_rank = {{ rank }} then days_since_last end) as days_{{ rank }}
        {%- if not loop.last %},{% endif %}
        {%- endfor %}
    from {{ name }}_ranked
    group by customer_id, cutoff_at
),

{% endfor -%}
final as (
    select
        pairs.customer_id,
        pairs.cutoff_at
        {%- for name in attributes %}
        {%- for count, suffix in [('history_count', ''), ('sequence_count', '_in_sequence')] %}
        {%- set summary = name ~ '_summaries.' ~ count %},
        cast(coalesce({{ summary }}_distinct, 0) as {{ dbt.type_bigint() }}) as {{ name }}_distinct{{ suffix }},
        {{ caspr.rounded(caspr.cast_numerical(
            'case when ' ~ summary ~ ' > 0 then ln(' ~ summary ~ ') - ' ~ summary ~ '_log_sum / ' ~ summary ~ ' end'
        )) }} as {{ name }}_entropy{{ suffix }}
        {%- for rank in ranks %},
        cast(coalesce({{ summary }}_{{ rank }}, 0) as {{ dbt.type_bigint() }})
            as {{ name }}_top_{{ rank }}_count{{ suffix }},
        {{ caspr.rounded(caspr.cast_numerical('coalesce(' ~ summary ~ '_' ~ rank ~ ', 0) / nullif(' ~ summary ~ ', 0)')) }}
            as {{ name }}_top_{{ rank }}_share{{ suffix }},
        {{ caspr.rounded('case when ' ~ summary ~ '_' ~ rank ~ ' > 0 then ' ~ name ~ '_summaries.days_' ~ rank ~ ' end') }}
            as {{ name }}_top_{{ rank }}_days_since_last{{ suffix }}
        {%- endfor %}
        {%- endfor %}
        {%- endfor %},
        pairs.customer_fingerprint
    from pairs
    {%- for name in attributes %}
    left join {{ name }}_summaries
        on pairs.customer_id = {{ name }}_summaries.customer_id
        and pairs.cutoff_at = {{ name }}_summaries.cutoff_at
    {%- endfor %}
)

select
    customer_id,
    cutoff_at
    {%- for name in attributes %}
    {%- for suffix in ['', '_in_sequence'] %},
    {{ name }}_distinct{{ suffix }},
    {{ name }}_entropy{{ suffix }}
    {%- for rank in ranks %},
    {{ name }}_top_{{ rank }}_count{{ suffix }},
    {{ name }}_top_{{ rank }}_share{{ suffix }},
    {{ name }}_top_{{ rank }}_days_since_last{{ suffix }}
    {%- endfor %}
    {%- endfor %}
    {%- endfor %},
    customer_fingerprint
from final

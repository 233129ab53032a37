{#- Branches of a `case` that name what is wrong with a row's keys or its occurred_at; see _macros.yml. -#}
{% macro bad_key_or_time(keys) -%}
    {%- set possible = caspr.possible_times() -%}
    {%- for key in keys -%}
    when {{ key }} is null then 'null_{{ key }}'
    when {{ key }} = '' then 'empty_{{ key }}'
    {% endfor -%}
    when occurred_at is null then 'null_occurred_at'
    when not (
        occurred_at >= {{ caspr.timestamp_literal(possible.from) }}
        and occurred_at < {{ caspr.timestamp_literal(possible.until) }}
    ) then 'impossible_occurred_at'
{%- endmacro %}

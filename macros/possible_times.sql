{#- The half-open span of possible times as {from, until}: outside of it an activity is rejected. -#}
{% macro possible_times() %}
    {#- The epoch's first day is where a missing time usually ends; nothing of the wall clock, so the end is a round year. -#}
    {%- set from = caspr.check_timestamp('possible_from', caspr.setting('possible_from', '1970-01-02')) -%}
    {%- set until = caspr.check_timestamp('possible_until', caspr.setting('possible_until', '2100-01-01')) -%}
    {%- if until <= from -%}
        {%- do caspr.bad_setting('possible_until', until, 'a timestamp after possible_from, which is ' ~ from) -%}
    {%- endif -%}
    {{ return({'from': from, 'until': until}) }}
{% endmacro %}

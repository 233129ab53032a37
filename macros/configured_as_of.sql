{#- The setting as_of as text, or none: then the data decide, see models/activities/cutoffs.sql. -#}
{% macro configured_as_of() %}
    {%- set given = caspr.setting('as_of') -%}
    {%- if given is none -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set as_of = caspr.check_timestamp('as_of', given) -%}
    {%- set from = caspr.possible_times().from -%}
    {%- if as_of <= from -%}
        {%- do caspr.bad_setting('as_of', as_of, 'a time after possible_from, which is ' ~ from ~ ': no activity can lie before it') -%}
    {%- endif -%}
    {{ return(as_of) }}
{% endmacro %}

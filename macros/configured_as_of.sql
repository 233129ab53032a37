{#- The setting as_of as text, or none: then the data decide, see models/activities/cutoffs.sql. -#}
{% macro configured_as_of() %}
    {%- set given = caspr.setting('as_of') -%}
    {{ return(none if given is none else caspr.check_timestamp('as_of', given)) }}
{% endmacro %}

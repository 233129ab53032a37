{#- How long the name of an attribute may be: the marts make longer ones of it, and Postgres cuts every name at 63 bytes
    (https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS), in silence. The same on every warehouse,
    so that a project can move. -#}
{% macro name_length(kind, scope, relative) %}
    {%- if scope == 'profile' -%}
        {%- set longest = '' -%}
    {%- elif kind == 'categorical' -%}
        {#- models/features/content_features.sql -#}
        {%- set longest = '_top_' ~ caspr.positive_integer('content_values', 10) ~ '_days_since_last_in_sequence' -%}
    {%- else -%}
        {#- macros/relative_ctes.sql -#}
        {%- set longest = '_relative_count' if relative else '' -%}
    {%- endif -%}
    {{ return({'length': 63 - longest | length, 'longest': '<name>' ~ longest}) }}
{% endmacro %}

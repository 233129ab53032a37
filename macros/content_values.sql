{#- How many of the most frequent values of a categorical attribute get columns of their own in content_features. -#}
{% macro content_values() %}
    {%- set values = caspr.positive_integer('content_values', 10) -%}
    {%- set attributes = caspr.categorical_attributes() -%}
    {#- A row of Postgres has to fit a page of 8 kB, and most of these take 8 bytes; others hold 1,600 columns and more. -#}
    {%- set most = 950 if target.type == 'postgres' else 1500 -%}
    {%- if attributes | length * (6 * values + 4) > most -%}
        {%- do caspr.bad_setting(
            'content_values', values,
            'at most ' ~ ((most // attributes | length - 4) // 6) ~ ', because ' ~ attributes | length ~ ' categorical attributes would give '
            ~ 'content_features ' ~ attributes | length * (6 * values + 4) ~ ' columns, and a table of ' ~ target.type ~ ' holds ' ~ most
        ) -%}
    {%- endif -%}
    {{ return(values) }}
{% endmacro %}

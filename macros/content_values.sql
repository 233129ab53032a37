{#- How many of the most frequent values of a categorical attribute get columns of their own in content_features. -#}
{% macro content_values() %}
    {%- set values = caspr.positive_integer('content_values', 10) -%}
    {%- set attributes = caspr.categorical_attributes() -%}
    {#- Postgres holds 1,600 columns a table, others a little more. -#}
    {%- if attributes | length * (6 * values + 4) > 1500 -%}
        {%- do caspr.bad_setting(
            'content_values', values,
            'at most ' ~ ((1500 // attributes | length - 4) // 6) ~ ', because ' ~ attributes | length ~ ' categorical attributes would give '
            ~ 'content_features ' ~ attributes | length * (6 * values + 4) ~ ' columns, and a table holds 1,500'
        ) -%}
    {%- endif -%}
    {{ return(values) }}
{% endmacro %}

{#- A key of one or several columns as one text; null if any part is null, of several also if one is empty; see _macros.yml. -#}
{% macro key_of(columns) -%}
    {%- if columns | length == 1 -%}
    {{ caspr.cast_categorical(caspr.quoted(columns[0])) }}
    {%- else -%}
    {#- '|' between the parts, so one inside a part is written '~p' and a '~' is written '~t': no two keys share a text. -#}
    {%- set parts = [] -%}
    {%- for column in columns -%}
        {#- Without an empty part's row, all rows of the other parts would be one customer. -#}
        {%- set part = "nullif(" ~ caspr.cast_categorical(caspr.quoted(column)) ~ ", '')" -%}
        {%- do parts.append("replace(replace(" ~ part ~ ", '~', '~t'), '|', '~p')") -%}
    {%- endfor -%}
    {{ parts | join(" || '|' || ") }}
    {%- endif -%}
{%- endmacro %}

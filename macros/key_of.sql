{#- A key of one or several columns as one text; null if any part is null; see _macros.yml. -#}
{% macro key_of(columns) -%}
    {%- if columns | length == 1 -%}
    {{ caspr.cast_categorical(caspr.quoted(columns[0])) }}
    {%- else -%}
    {#- '|' between the parts, so one inside a part is written '~p' and a '~' is written '~t': no two keys share a text. -#}
    {%- set parts = [] -%}
    {%- for column in columns -%}
        {%- do parts.append("replace(replace(" ~ caspr.cast_categorical(caspr.quoted(column)) ~ ", '~', '~t'), '|', '~p')") -%}
    {%- endfor -%}
    {{ parts | join(" || '|' || ") }}
    {%- endif -%}
{%- endmacro %}

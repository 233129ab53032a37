{#- The timestamp under a key as `YYYY-MM-DD HH:MM:SS[.ffffff]`, or a stop. YAML reads an unquoted date as a date: both are welcome. -#}
{% macro check_timestamp(key, given) %}
    {%- set text = (given ~ '').replace('T', ' ') -%}
    {%- set pattern = '([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])( ([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?)?' -%}
    {%- set parts = modules.re.fullmatch(pattern, text) -%}
    {%- set ok = false -%}
    {%- if given is not none and parts -%}
        {%- set year, month, day = parts.group(1) | int, parts.group(2) | int, parts.group(3) | int -%}
        {%- set leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) -%}
        {%- set ok = year > 0 and day <= [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1] -%}
    {%- endif -%}
    {%- if not ok -%}
        {%- do caspr.bad_setting(key, none if given is none else given ~ '', "a timestamp such as '2011-06-01' or '2011-06-01 12:00:00'") -%}
    {%- endif -%}
    {#- One way to write an instant, so that the same one given twice is seen. -#}
    {%- if text | length == 10 -%}
        {%- set text = text ~ ' 00:00:00' -%}
    {%- elif text | length == 16 -%}
        {%- set text = text ~ ':00' -%}
    {%- elif '.' in text -%}
        {%- set text = text.rstrip('0').rstrip('.') -%}
    {%- endif -%}
    {{ return(text) }}
{% endmacro %}

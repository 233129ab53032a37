{#- The timestamp under a key as text, or a stop. YAML reads an unquoted date as a date: both are welcome. -#}
{% macro check_timestamp(key, given) %}
    {%- set text = (given ~ '').replace('T', ' ') -%}
    {%- set pattern = '^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])( ([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?)?$' -%}
    {%- if given is none or not modules.re.match(pattern, text) -%}
        {%- do caspr.bad_setting(key, none if given is none else given ~ '', "a timestamp such as '2011-06-01' or '2011-06-01 12:00:00'") -%}
    {%- endif -%}
    {{ return(text) }}
{% endmacro %}

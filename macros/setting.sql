{#- The value of one key of `vars: caspr:`; see _macros.yml. A null counts as "not set". -#}
{% macro setting(name, default=none) %}
    {%- if name not in caspr.setting_names() -%}
        {{ exceptions.raise_compiler_error(
            "caspr.setting: there is no setting '" ~ name ~ "'; expected one of: " ~ caspr.setting_names() | join(', ')
        ) }}
    {%- endif -%}
    {#- A model of the installing project sees the package's block only as one dictionary under its name. -#}
    {%- set explicit = var(name, none) -%}
    {%- if explicit is none and var('caspr', none) is mapping -%}
        {%- set explicit = var('caspr').get(name) -%}
    {%- endif -%}
    {%- if explicit is none and project_name == 'caspr' -%}
        {%- set explicit = (var('demo', none) or var('caspr', {}).get('demo') or {}).get(name) -%}
    {%- endif -%}
    {{ return(default if explicit is none else explicit) }}
{% endmacro %}

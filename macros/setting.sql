{#- The value of one key of `vars: caspr:`; see _macros.yml. A null counts as "not set". -#}
{% macro setting(name, default=none) %}
    {%- if name not in caspr.setting_names() -%}
        {{ exceptions.raise_compiler_error(
            "caspr.setting: there is no setting '" ~ name ~ "'; expected one of: " ~ caspr.setting_names() | join(', ')
        ) }}
    {%- endif -%}
    {%- set given = invocation_args_dict.get('vars') or {} -%}
    {%- set given = fromyaml(given, {}) if given is string else given -%}
    {%- if given.get('caspr') is not none -%}
        {#- dbt would show models of the installing project this block alone, and hide theirs. -#}
        {{ exceptions.raise_compiler_error(
            "vars: caspr: the block stands on the command line; expected its keys there without it, --vars '{as_of: 2025-01-01}'"
        ) }}
    {%- endif -%}
    {%- set block = var('caspr', none) -%}
    {%- set explicit = var(name, none) -%}
    {%- if name in given and given[name] is none and explicit is none -%}
        {{ return(default) }}
    {%- endif -%}
    {%- if block is mapping and explicit is none -%}
        {#- A model of the installing project sees the package's block only as one dictionary under its name. -#}
        {%- set explicit = block.get(name) -%}
    {%- elif block is mapping and name not in block and 'demo' not in block -%}
        {#- dbt gives a package the root's variables too. The names are general (as_of, churn), so one that the block does not
            hold is somebody else's or in the wrong place; with `demo` the block is our own, and on the command line it is meant. -#}
        {%- if name not in given -%}
            {%- do caspr.bad_setting(
                name, none, 'the key there, because the variable ' ~ name ~ ' at the top of vars (' ~ (explicit ~ '') | truncate(60, true)
                ~ ') would be read instead: move it under caspr, or write ' ~ name ~ ': null there if it means something else'
            ) -%}
        {%- endif -%}
    {%- endif -%}
    {%- if explicit is none and project_name == 'caspr' -%}
        {%- set explicit = (var('demo', none) or var('caspr', {}).get('demo') or {}).get(name) -%}
    {%- endif -%}
    {{ return(default if explicit is none else explicit) }}
{% endmacro %}

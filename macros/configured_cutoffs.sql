{#- The setting cutoffs as a list of {cutoff_at, role}, or none: then they follow from as_of and horizon_days. -#}
{% macro configured_cutoffs() %}
    {%- set given = caspr.setting('cutoffs') -%}
    {%- if given is none -%}
        {{ return(none) }}
    {%- endif -%}
    {%- if given is string or given is mapping or given is not iterable or not given -%}
        {%- do caspr.bad_setting('cutoffs', given, 'a list of {cutoff_at, role}') -%}
    {%- endif -%}
    {%- set cutoffs = [] -%}
    {%- for cutoff in given -%}
        {%- set here = 'cutoffs[' ~ loop.index0 ~ ']' -%}
        {%- do caspr.check_keys(here, cutoff, ['cutoff_at', 'role']) -%}
        {%- set cutoff_at = caspr.check_timestamp(here ~ '.cutoff_at', cutoff.get('cutoff_at')) -%}
        {%- if cutoff.get('role') not in ['train', 'evaluate', 'score'] -%}
            {%- do caspr.bad_setting(here ~ '.role', cutoff.get('role'), 'train, evaluate or score') -%}
        {%- elif cutoff_at in cutoffs | map(attribute='cutoff_at') -%}
            {%- do caspr.bad_setting(here ~ '.cutoff_at', cutoff_at, 'each cutoff once, with one role') -%}
        {%- endif -%}
        {%- do cutoffs.append({'cutoff_at': cutoff_at, 'role': cutoff.role}) -%}
    {%- endfor -%}
    {{ return(cutoffs) }}
{% endmacro %}

{#- The setting cutoffs as a list of {cutoff_at, role, key, instant}, checked, or none: then they follow from as_of and horizon_days. -#}
{% macro configured_cutoffs() %}
    {%- set given = caspr.setting('cutoffs') -%}
    {%- if given is none -%}
        {{ return(none) }}
    {%- endif -%}
    {%- if given is string or given is mapping or given is not iterable or not given -%}
        {%- do caspr.bad_setting('cutoffs', given, 'a list of {cutoff_at, role}') -%}
    {%- endif -%}
    {%- for name in ['train_cutoffs', 'train_cutoff_step_days'] if caspr.setting(name) is not none -%}
        {%- do caspr.bad_setting(
            name, caspr.setting(name), 'nothing, because cutoffs lists them one by one: leave one of the two out, or write ' ~ name ~ ': null'
        ) -%}
    {%- endfor -%}
    {%- set as_of = caspr.configured_as_of() -%}
    {%- set cutoffs = [] -%}
    {%- for cutoff in given -%}
        {%- set here = 'cutoffs[' ~ loop.index0 ~ ']' -%}
        {%- do caspr.check_keys(here, cutoff, ['cutoff_at', 'role']) -%}
        {%- set cutoff_at = caspr.check_timestamp(here ~ '.cutoff_at', cutoff.get('cutoff_at')) -%}
        {%- if cutoff.get('role') not in ['train', 'evaluate', 'score'] -%}
            {%- do caspr.bad_setting(here ~ '.role', cutoff.get('role'), 'train, evaluate or score') -%}
        {%- elif cutoff_at in cutoffs | map(attribute='cutoff_at') -%}
            {%- do caspr.bad_setting(here ~ '.cutoff_at', cutoff_at, 'each cutoff once, with one role') -%}
        {%- elif as_of and cutoff_at > as_of -%}
            {#- It would see a history that is not complete yet. Such texts are in the order of their instants. -#}
            {%- do caspr.bad_setting(here ~ '.cutoff_at', cutoff_at, 'a time at or before as_of, which is ' ~ as_of) -%}
        {%- endif -%}
        {%- do cutoffs.append({
            'cutoff_at': cutoff_at, 'role': cutoff.role, 'key': here,
            'instant': modules.datetime.datetime.strptime(cutoff_at, '%Y-%m-%d %H:%M:%S' ~ ('.%f' if '.' in cutoff_at else '')),
        }) -%}
    {%- endfor -%}
    {#- The encoder learns up to the first train cutoff. -#}
    {%- for train in (cutoffs | selectattr('role', 'equalto', 'train') | sort(attribute='instant'))[:1] -%}
        {%- for score in cutoffs if score.role == 'score' and score.instant < train.instant -%}
            {%- do caspr.bad_setting(
                score.key ~ '.cutoff_at', score.cutoff_at, 'a score cutoff after the train cutoff ' ~ train.cutoff_at ~ ' (' ~ train.key
                ~ '): what is trained there knows every activity before it, and would know the future of the earlier one'
            ) -%}
        {%- endfor -%}
    {%- endfor -%}
    {#- What is measured at an evaluate cutoff must not have been fitted on what happens after it. -#}
    {%- set horizon = caspr.horizon_days() -%}
    {%- for train in cutoffs if train.role == 'train' -%}
        {%- for evaluate in cutoffs if evaluate.role == 'evaluate' and (evaluate.instant - train.instant).total_seconds() < horizon * 86400 -%}
            {%- do caspr.bad_setting(
                train.key ~ '.cutoff_at', train.cutoff_at, 'a train cutoff at least ' ~ horizon ~ ' days (the longest horizon) before the '
                ~ 'evaluate cutoff ' ~ evaluate.cutoff_at ~ ' (' ~ evaluate.key ~ '), so that its labels are known there: move one of them, or '
                ~ 'shorten horizon_days'
            ) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(cutoffs) }}
{% endmacro %}

{#- The attributes of one stream or of the profile as a list of {name, column, kind, role, relative, key}, each checked. -#}
{% macro check_attributes(key, given, scope) %}
    {%- set kinds = ['categorical', 'numerical'] -%}
    {%- set roles = ['item', 'monetary'] -%}
    {%- set accepted = ['name', 'column', 'kind'] + (['role', 'relative'] if scope == 'sequence' else []) -%}
    {%- set reserved = [
        'customer_id', 'occurred_at', 'stream', 'stream_rank', 'activity_id', 'activity_number', 'activity_type',
        'seconds_since_previous', 'seconds_before_cutoff', 'cutoff_at', 'position', 'recency_rank', 'has_profile',
        'profile_began_at',
        'customer_fingerprint', 'loaded_at', 'previous_at', 'activity_count', 'activities_dropped', 'rejection', 'version_rank',
        'superseded_at', 'is_repeated',
    ] -%}
    {%- set given = [] if given is none else given -%}
    {%- if given is string or given is mapping or given is not iterable -%}
        {%- do caspr.bad_setting(key, given, 'a list of attributes, each {name, kind}') -%}
    {%- endif -%}
    {%- set attributes = [] -%}
    {%- for attribute in given -%}
        {%- set here = key ~ '[' ~ loop.index0 ~ ']' -%}
        {%- do caspr.check_keys(here, attribute, accepted) -%}
        {%- set name = caspr.check_text(here ~ '.name', attribute.get('name'), 'the name of the attribute') -%}
        {%- if not modules.re.match('^[a-z_][a-z0-9_]*$', name) -%}
            {%- do caspr.bad_setting(here ~ '.name', name, 'lower-case letters, digits and _, not beginning with a digit') -%}
        {%- elif name in reserved or name.startswith('caspr_') -%}
            {%- do caspr.bad_setting(
                here ~ '.name', name, 'a name that is no column of the marts; taken: ' ~ reserved | join(', ') ~ ', and all that begin with caspr_'
            ) -%}
        {%- elif name in attributes | map(attribute='name') -%}
            {%- do caspr.bad_setting(here ~ '.name', name, 'each attribute once') -%}
        {%- endif -%}
        {%- set kind = attribute.get('kind') -%}
        {%- if kind not in kinds -%}
            {%- do caspr.bad_setting(here ~ '.kind', kind, kinds | join(' or ') ~ " (attribute '" ~ name ~ "')") -%}
        {%- endif -%}
        {%- set role = attribute.get('role') -%}
        {%- if role is not none -%}
            {%- if role not in roles -%}
                {%- do caspr.bad_setting(here ~ '.role', role, roles | join(' or ') ~ ", or no role (attribute '" ~ name ~ "')") -%}
            {%- endif -%}
            {%- set needed = {'item': 'categorical', 'monetary': 'numerical'}[role] -%}
            {%- if kind != needed -%}
                {%- do caspr.bad_setting(here ~ '.kind', kind, needed ~ " because the role of '" ~ name ~ "' is " ~ role) -%}
            {%- endif -%}
        {%- endif -%}
        {%- set column = caspr.check_text(here ~ '.column', attribute.get('column', name), 'the name of a column') -%}
        {%- set relative = attribute.get('relative', false) -%}
        {%- if relative is not boolean or (relative and kind != 'numerical') -%}
            {%- do caspr.bad_setting(here ~ '.relative', relative, "true or false, and true of a numerical attribute only ('" ~ name ~ "')") -%}
        {%- endif -%}
        {%- set allowed = caspr.name_length(kind, scope, relative) -%}
        {%- if name | length > allowed.length -%}
            {%- do caspr.bad_setting(
                here ~ '.name', name, 'at most ' ~ allowed.length ~ ' characters, because ' ~ allowed.longest ~ ' must be a name too, and some '
                ~ 'warehouses cut it after 63: shorten it, and keep column: ' ~ column
            ) -%}
        {%- endif -%}
        {%- do attributes.append({
            'name': name, 'column': column, 'kind': kind, 'role': role, 'relative': relative, 'key': here,
        }) -%}
    {%- endfor -%}
    {{ return(attributes) }}
{% endmacro %}

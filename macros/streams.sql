{#- The configured streams, checked and with every default filled in; see _macros.yml. -#}
{% macro streams() %}
    {%- set names = caspr.setting_names() -%}
    {%- if var('caspr', none) is mapping -%}
        {%- do caspr.check_keys('', var('caspr'), names + ['demo']) -%}
    {%- endif -%}
    {%- set given = caspr.setting('streams') -%}
    {%- if given is string or given is mapping or given is not iterable or not given -%}
        {%- do caspr.bad_setting('streams', given, 'a list of streams, each at least {model, activity_type}') -%}
    {%- endif -%}
    {%- set streams = [] -%}
    {%- for stream in given -%}
        {%- set here = 'streams[' ~ loop.index0 ~ ']' -%}
        {%- do caspr.check_keys(here, stream, [
            'model', 'activity_id', 'customer_id', 'occurred_at', 'loaded_at', 'activity_type', 'activity_type_column',
            'attributes',
        ]) -%}
        {%- set model_name = caspr.check_model(here ~ '.model', stream.get('model')) -%}
        {%- set constant = stream.get('activity_type') -%}
        {%- set column = stream.get('activity_type_column') -%}
        {%- if constant is none and column is none -%}
            {%- do caspr.bad_setting(
                here ~ '.activity_type', none, 'either activity_type (one word for the whole stream) or activity_type_column'
            ) -%}
        {%- elif constant is not none and column is not none -%}
            {%- do caspr.bad_setting(
                here ~ '.activity_type', constant, 'only one of activity_type and activity_type_column (' ~ column | tojson ~ ')'
            ) -%}
        {%- elif column is none -%}
            {%- do caspr.check_text(here ~ '.activity_type', constant, 'a word for the type of these activities') -%}
        {%- else -%}
            {%- do caspr.check_text(here ~ '.activity_type_column', column, 'the name of a column') -%}
        {%- endif -%}
        {%- set loaded_at = stream.get('loaded_at') -%}
        {%- if loaded_at is not none -%}
            {%- do caspr.check_text(here ~ '.loaded_at', loaded_at, 'the name of a column') -%}
        {%- endif -%}
        {%- do streams.append({
            'key': here,
            'model': model_name,
            'rank': loop.index,
            'activity_id': caspr.check_key_columns(here ~ '.activity_id', stream.get('activity_id', 'activity_id')),
            'customer_id': caspr.check_key_columns(here ~ '.customer_id', stream.get('customer_id', 'customer_id')),
            'occurred_at': caspr.check_text(here ~ '.occurred_at', stream.get('occurred_at', 'occurred_at'), 'the name of a column'),
            'loaded_at': loaded_at,
            'activity_type': constant,
            'activity_type_column': column,
            'attributes': caspr.check_attributes(here ~ '.attributes', stream.get('attributes'), 'sequence'),
        }) -%}
    {%- endfor -%}
    {{ return(streams) }}
{% endmacro %}

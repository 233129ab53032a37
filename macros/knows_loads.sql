{#- The setting known_at: whether a row loaded at or after a cutoff is unknown at it. Some stream must then have a loaded_at. -#}
{% macro knows_loads() %}
    {%- set given = caspr.setting('known_at', false) -%}
    {%- if given is not boolean -%}
        {%- do caspr.bad_setting('known_at', given, 'true or false') -%}
    {%- elif given and not caspr.streams() | selectattr('loaded_at') | list -%}
        {%- do caspr.bad_setting('known_at', given, 'a stream with loaded_at (streams[..].loaded_at), or false') -%}
    {%- endif -%}
    {{ return(given) }}
{% endmacro %}

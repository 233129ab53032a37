{#- Whether a row of the profile held in the last instant before the cutoff: valid from before it, and not yet replaced; see
    _macros.yml. -#}
{% macro held_before_cutoff(profile, profiles='profiles', cutoff_at='cutoff_at') -%}
({{ profiles }}.caspr_valid_from is null or {{ caspr.before_cutoff(profiles ~ '.caspr_valid_from', cutoff_at) }})
    {%- if profile.valid_to %}
    and ({{ profiles }}.caspr_valid_to is null or not {{ caspr.before_cutoff(profiles ~ '.caspr_valid_to', cutoff_at) }})
    {%- endif %}
{%- endmacro %}

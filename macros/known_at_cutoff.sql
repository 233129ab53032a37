{#- What a row may know at its cutoff: it happened strictly before; with known_at it was loaded strictly before, too, and no later load
    of its key was. -#}
{% macro known_at_cutoff(activities, cutoff_at='cutoff_at') -%}
    {{ caspr.before_cutoff(activities ~ '.occurred_at', cutoff_at) }}
    {%- if caspr.knows_loads() %}
    and ({{ activities }}.loaded_at is null or {{ caspr.before_cutoff(activities ~ '.loaded_at', cutoff_at) }})
    and ({{ activities }}.superseded_at is null or not {{ caspr.before_cutoff(activities ~ '.superseded_at', cutoff_at) }})
    {%- endif -%}
{%- endmacro %}

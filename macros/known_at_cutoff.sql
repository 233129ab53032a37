{#- What a row may know at its cutoff: it happened strictly before, and with known_at it was loaded strictly before, too. -#}
{% macro known_at_cutoff(activities, cutoff_at='cutoff_at') -%}
    {{ caspr.before_cutoff(activities ~ '.occurred_at', cutoff_at) }}
    {%- if caspr.knows_loads() %}
    and ({{ activities }}.loaded_at is null or {{ caspr.before_cutoff(activities ~ '.loaded_at', cutoff_at) }})
    {%- endif -%}
{%- endmacro %}

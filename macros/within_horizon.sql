{#- The one half-open label window: from the cutoff, included, to the end of the horizon, excluded. -#}
{% macro within_horizon(occurred_at, cutoff_at='cutoff_at', horizon_ends_at='horizon_ends_at') -%}
    {{ occurred_at }} >= {{ cutoff_at }} and {{ occurred_at }} < {{ horizon_ends_at }}
{%- endmacro %}

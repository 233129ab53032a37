{#- How far the labels look beyond a cutoff, in days. -#}
{% macro horizon_days() %}
    {{ return(caspr.positive_integer('horizon_days', 90)) }}
{% endmacro %}

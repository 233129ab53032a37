{#- An expression as the type of its kind. -#}
{% macro cast_kind(expression, kind) -%}
    {{ caspr.cast_numerical(expression) if kind == 'numerical' else caspr.cast_categorical(expression) }}
{%- endmacro %}

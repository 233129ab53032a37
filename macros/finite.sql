{#- The number, or null where it is NaN, infinite or beyond 1e100: one such row must not turn a customer's sums into NaN, nor may
    the squares of a standard deviation overflow. Databases sort NaN above every number, so the comparison is false for it too. -#}
{% macro finite(expression) -%}
    case when abs({{ expression }}) < 1e100 then {{ expression }} end
{%- endmacro %}

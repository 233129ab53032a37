{#- The number, or null where it is NaN or infinite: one such row must not turn a customer's sums into NaN.
    Databases sort NaN above every number, so the comparison is false for it as well. -#}
{% macro finite(expression) -%}
    case when abs({{ expression }}) < 1e308 then {{ expression }} end
{%- endmacro %}

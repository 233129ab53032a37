{#- Numbers are double precision everywhere. NaN and infinity pass: the trainer counts them and treats them as missing. -#}
{% macro cast_numerical(expression) -%}
    cast({{ expression }} as {{ caspr.type_double() }})
{%- endmacro %}

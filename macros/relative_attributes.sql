{#- The attributes that follow from others: <name>_relative of every attribute with `relative: true`. -#}
{% macro relative_attributes() %}
    {%- set attributes = [] -%}
    {%- for attribute in caspr.sequence_attributes() if attribute.relative -%}
        {%- do attributes.append({'name': attribute.name ~ '_relative', 'of': attribute.name, 'kind': 'numerical', 'role': none}) -%}
    {%- endfor -%}
    {{ return(attributes) }}
{% endmacro %}

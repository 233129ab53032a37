{#- The join of the activities with what lies strictly before each; nothing where no attribute is relative. -#}
{% macro relative_join(activities, partition_by) -%}
    {%- if caspr.relative_attributes() -%}
    inner join earlier_values
        on {% for column in partition_by -%}
        {{ activities }}.{{ column }} = earlier_values.{{ column }} and {% endfor -%}
        {{ activities }}.occurred_at = earlier_values.occurred_at
    {%- endif -%}
{%- endmacro %}

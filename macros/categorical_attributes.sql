{#- The names of the categorical attributes of activities, the type first. -#}
{% macro categorical_attributes() %}
    {{ return(
        ['activity_type'] + (caspr.sequence_attributes() | selectattr('kind', 'equalto', 'categorical') | map(attribute='name') | list)
    ) }}
{% endmacro %}

{#- The one sequence attribute with the role (item or monetary), or none. -#}
{% macro attribute_with_role(role) %}
    {{ return(caspr.sequence_attributes() | selectattr('role', 'equalto', role) | first | default(none)) }}
{% endmacro %}

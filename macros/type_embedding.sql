{#- The name of the type that holds an embedding: an array of 4-byte numbers. -#}
{% macro type_embedding() %}{{ return(adapter.dispatch('type_embedding', 'caspr')()) }}{% endmacro %}

{% macro default__type_embedding() %}float[]{% endmacro %}

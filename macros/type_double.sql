{#- The name of the 8-byte floating-point type (dbt.type_float is 4 bytes wide on some warehouses). The models' YAML, where no macro
    can be called, says the same in its anchors. -#}
{% macro type_double() %}{{ return(adapter.dispatch('type_double', 'caspr')()) }}{% endmacro %}

{% macro default__type_double() %}double{% endmacro %}

{#- https://www.postgresql.org/docs/current/datatype-numeric.html; Redshift's is the same. -#}
{% macro postgres__type_double() %}double precision{% endmacro %}

{#- https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#floating_point_types -#}
{% macro bigquery__type_double() %}float64{% endmacro %}

{#- Whether the warehouse runs dbt's Python models; elsewhere `caspr_train score` does their work. python_models/*.yml and models/sources.yml
    say the same where no macro can be called. -#}
{% macro has_python_models() %}
    {{ return(target.type in ['duckdb', 'snowflake', 'bigquery', 'databricks']) }}
{% endmacro %}

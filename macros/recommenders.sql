{#- The recommenders, the simplest first; as CANDIDATES in caspr_train/tasks/candidates.py. -#}
{% macro recommenders() %}
    {{ return(['popularity', 'personal_frequency', 'frequency_popularity', 'als', 'caspr', 'frequency_caspr', 'als_caspr']) }}
{% endmacro %}

{#- The columns of a table of performance, name to type; those of PERFORMANCE_TYPES in caspr_train/tasks/performance.py. -#}
{% macro performance_columns() %}
    {%- set text, at, real, flag, whole = dbt.type_string(), dbt.type_timestamp(), caspr.type_double(), dbt.type_boolean(), dbt.type_bigint() -%}
    {{ return({
        'task': text, 'learner': text, 'representation': text, 'cutoff_at': at, 'metric': text, 'value': real,
        'standard_error': real, 'seeds': whole, 'seed_standard_error': real, 'difference_to_rfm': real,
        'difference_to_rfm_low': real, 'difference_to_rfm_high': real, 'difference_to_rfm_content': real,
        'difference_to_rfm_content_low': real, 'difference_to_rfm_content_high': real, 'best_control': text,
        'difference_to_control': real, 'difference_to_control_low': real, 'difference_to_control_high': real,
        'is_headline': flag, 'is_champion': flag, 'customers': whole, 'note': text,
    }) }}
{% endmacro %}

{#- The trainer's tables, and those of `caspr_train score` where there are no Python models, empty and typed, where they do not
    exist yet, and the columns that an existing one lacks; called on-run-start. -#}
{% macro create_trained_tables() %}
    {#- Asked while parsing too, so that a wrong setting stops there. -#}
    {%- set schema_name = caspr.trained_schema() -%}
    {%- if not execute -%}
        {{ return('') }}
    {%- endif -%}
    {#- Spark has no databases above its schemas. -#}
    {%- set database = none if target.type == 'spark' else target.database -%}
    {%- set text, at, real = dbt.type_string(), dbt.type_timestamp(), caspr.type_double() -%}
    {%- set whole, vector = dbt.type_bigint(), caspr.type_embedding() -%}
    {%- set tables = {
        'customer_embeddings': {
            'customer_id': text, 'cutoff_at': at, 'model_version': text, 'embedding': vector, 'embedded_at': at,
            'input_hash': whole,
        },
        'item_embeddings': {'item': text, 'model_version': text, 'embedding': vector, 'bias': real, 'embedded_at': at},
        'control_embeddings': {
            'customer_id': text, 'cutoff_at': at, 'model_version': text, 'control': text, 'embedding': vector,
        },
        'training_runs': {
            'model_version': text, 'preset': text, 'seed': whole, 'started_at': at, 'finished_at': at, 'device': text,
            'processes': whole, 'train_cutoff_at': at, 'data_watermark_at': at, 'customers': whole, 'sequences': whole,
            'activities': whole, 'parameters': whole, 'epochs': whole, 'train_loss': real, 'validation_loss': real,
            'sequences_per_second': real, 'config': text, 'metrics': text, 'caspr_version': text,
            'dbt_invocation_id': text, 'git_commit': text,
        },
    } -%}
    {%- do tables.update({'model_evaluations': dict(caspr.performance_columns(), model_version=text, settings_hash=text)}) -%}
    {%- if not caspr.has_python_models() -%}
        {%- set flag = dbt.type_boolean() -%}
        {%- set keys = {'customer_id': text, 'cutoff_at': at, 'learner': text, 'representation': text, 'note': text} -%}
        {%- set evaluation_keys = dict(keys, seed=whole, is_control=flag) -%}
        {%- set value_scores = {'predicted_revenue': real, 'high_value_probability': real} -%}
        {%- set measures = {} -%}
        {%- for name in ['map', 'precision_1', 'hits_5', 'hit_rate_5', 'ndcg_3', 'ndcg_10'] -%}
            {%- do measures.update({name: real}) -%}
            {%- if name != 'hits_5' -%}
                {%- do measures.update({'next_' ~ name: real}) -%}
            {%- endif -%}
        {%- endfor -%}
        {%- do tables.update({
            'churn_evaluation': dict(evaluation_keys, is_churned=flag, churn_probability=real),
            'churn_performance': caspr.performance_columns(),
            'churn_scores': dict(keys, churn_probability=real),
            'lifetime_value_evaluation': dict(evaluation_keys, future_revenue=real, is_high_value=flag, **value_scores),
            'lifetime_value_performance': caspr.performance_columns(),
            'lifetime_value_scores': dict(keys, **value_scores),
            'recommendation_evaluation': dict(evaluation_keys, **measures),
            'recommendation_performance': caspr.performance_columns(),
            'recommendation_scores': {
                'customer_id': text, 'cutoff_at': at, 'rank': whole, 'item': text, 'score': real, 'reason': text, 'learner': text,
                'representation': text,
            },
            'fraud_evaluation': dict(evaluation_keys, is_fraud=flag, alert_share=real, fraud_probability=real),
            'fraud_performance': caspr.performance_columns(),
            'fraud_scores': dict(keys, fraud_probability=real),
            'segment_assignments': {'customer_id': text, 'cutoff_at': at, 'segment': whole, 'silhouette': real},
            'segment_differences': {
                'cutoff_at': at, 'segment': whole, 'difference_rank': whole, 'feature': text, 'segment_mean': real, 'customer_mean': real,
                'standardised_difference': real, 'description': text,
            },
            'nearest_customers': {
                'customer_id': text, 'cutoff_at': at, 'similarity_rank': whole, 'similar_customer_id': text, 'cosine': real,
            },
        }) -%}
        {%- for task in caspr.tasks() -%}
            {%- for name in [task ~ '_evaluation', task ~ '_performance', task ~ '_scores'] -%}
                {%- do tables.update({name: dict(tables[name], settings_hash=text)}) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
    {%- set schema = api.Relation.create(database=database, schema=schema_name) -%}
    {%- if not adapter.check_schema_exists(database, schema_name) -%}
        {%- do adapter.create_schema(schema) -%}
    {%- endif -%}
    {%- for table, columns in tables.items() -%}
        {%- set relation = api.Relation.create(database=database, schema=schema_name, identifier=table) -%}
        {%- set definitions = [] -%}
        {%- for name, type in columns.items() -%}
            {%- do definitions.append(name ~ ' ' ~ type) -%}
        {%- endfor -%}
        {%- do run_query('create table if not exists ' ~ relation ~ ' (' ~ definitions | join(', ') ~ ')') -%}
        {#- A table of an earlier version of this package lacks what was added since: it is null in its rows. -#}
        {%- set there = run_query('select * from ' ~ relation ~ ' limit 0').columns | map(attribute='name') | map('lower') | list -%}
        {%- for name, type in columns.items() if name not in there -%}
            {%- set column = 'columns (' ~ name ~ ' ' ~ type ~ ')' if target.type in ('spark', 'databricks') else 'column ' ~ name ~ ' ' ~ type -%}
            {%- do run_query('alter table ' ~ relation ~ ' add ' ~ column) -%}
        {%- endfor -%}
    {%- endfor -%}
{% endmacro %}

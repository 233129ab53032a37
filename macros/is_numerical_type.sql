{#- Whether a column (dbt's Column) holds numbers or booleans. Named one by one: an enum, a bit string or a union also has a cast to
    double that compiles, and then fails on its values or gives nonsense. -#}
{% macro is_numerical_type(column) %}
    {%- set names = 'u?(tiny|small|medium|big|huge|byte)?int(eger)?[0-9]*|bignum(eric)?|decimal|numeric|number|fixed|real|float[0-9]*|double( precision)?' -%}
    {#- Snowflake, BigQuery and Redshift have no cast from boolean to double. -#}
    {%- set names = names if target.type in ['snowflake', 'bigquery', 'redshift'] else names ~ '|bool(ean)?' -%}
    {{ return(column.is_number() or modules.re.match('^(' ~ names ~ ')( ?[(][0-9, ]+[)])?$', column.dtype | lower) is not none) }}
{% endmacro %}

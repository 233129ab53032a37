{#- Whether a column (dbt's Column) holds numbers or booleans. Named one by one: an enum, a bit string or a union also has a cast to
    double that compiles, and then fails on its values or gives nonsense. -#}
{% macro is_numerical_type(column) %}
    {%- set names = 'u?(tiny|small|medium|big|huge)?int(eger)?[0-9]*|bignum(eric)?|decimal|numeric|number|real|float[0-9]*|double( precision)?|bool(ean)?' -%}
    {{ return(column.is_number() or modules.re.match('^(' ~ names ~ ')( ?[(][0-9, ]+[)])?$', column.dtype | lower) is not none) }}
{% endmacro %}

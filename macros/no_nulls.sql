{#- Fails on every row that is null in one of the columns. One query a table: `not_null` would be one a column. -#}
{% test no_nulls(model, columns) %}
    select {{ columns | join(', ') }}
    from {{ model }}
    where {{ columns | join(' is null or ') }} is null
{% endtest %}

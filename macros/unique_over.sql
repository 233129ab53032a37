{#- Fails on every combination of the columns that occurs more than once; a null equals a null. -#}
{% test unique_over(model, columns) %}
    select {{ columns | join(', ') }}
    from {{ model }}
    group by {{ columns | join(', ') }}
    having count(*) > 1
{% endtest %}

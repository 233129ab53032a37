{#- Fails on every row that knows something at or after its cutoff. -#}
{% test no_future_leakage(model, column_name, cutoff_at='cutoff_at') %}
    select {{ column_name }}, {{ cutoff_at }}
    from {{ model }}
    -- A missing time is no proof that it lies before the cutoff.
    where not coalesce({{ caspr.before_cutoff(column_name, cutoff_at) }}, false)
{% endtest %}

{#- A short text that changes with every setting on which the incremental marts depend: then all of a customer's rows are built anew. -#}
{% macro settings_hash() %}
    {{ return(local_md5(tojson([
        caspr.streams(), caspr.possible_times(), caspr.knows_loads(), caspr.positive_integer('sequence_length', 15),
        caspr.history_length(), caspr.content_values(), caspr.at_risk_days(),
    ], sort_keys=true))[:12]) }}
{% endmacro %}

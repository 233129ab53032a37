{#- How new rows come into an incremental mart: by a plain insert, since delete_stale has deleted what they replace. -#}
{% macro incremental_strategy() %}{{ return(adapter.dispatch('incremental_strategy', 'caspr')()) }}{% endmacro %}

{% macro default__incremental_strategy() %}{{ return('append') }}{% endmacro %}

{#- https://docs.getdbt.com/reference/resource-configs/bigquery-configs: a merge without a unique key inserts every row. -#}
{% macro bigquery__incremental_strategy() %}{{ return('merge') }}{% endmacro %}

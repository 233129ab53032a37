{#- Stops where the session would read times without a zone as something else than UTC; called on-run-start. -#}
{% macro check_session() %}{{ return(adapter.dispatch('check_session', 'caspr')()) }}{% endmacro %}

{% macro default__check_session() %}{% endmacro %}

{#- https://spark.apache.org/docs/latest/sql-ref-datatypes.html: a timestamp is an instant, shown and cast in the session's zone. -#}
{% macro spark__check_session() %}
    {%- if execute -%}
        {%- set zone = run_query('select current_timezone() as zone').columns[0].values()[0] -%}
        {%- if zone not in ['UTC', 'Etc/UTC', 'Z', '+00:00', 'GMT'] -%}
            {{ exceptions.raise_compiler_error(
                "target '" ~ target.name ~ "': the session's time zone is " ~ zone ~ '; expected UTC: set spark.sql.session.timeZone: UTC '
                ~ '(dbt-spark: server_side_parameters, dbt-databricks: session_properties with timezone)'
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

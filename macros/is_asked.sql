{#- Whether the settings say what a task needs: fraud its reports, lifetime value money, recommendation items; see _macros.yml. -#}
{% macro is_asked(task) %}
    {%- if task == 'fraud' -%}
        {{ return(caspr.fraud() is not none) }}
    {%- elif task == 'lifetime_value' -%}
        {{ return(caspr.attribute_with_role('monetary') is not none) }}
    {%- elif task == 'recommendation' -%}
        {%- set recommendation = caspr.recommendation() -%}
        {{ return(recommendation.purchases is not none or recommendation.item is not none) }}
    {%- endif -%}
    {{ return(true) }}
{% endmacro %}

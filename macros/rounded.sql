{#- Six decimals: a sum of doubles depends on the order of addition, which threads change from run to run. Halves go away from zero,
    so that every warehouse makes the same double of the same one. -#}
{% macro rounded(expression) %}{{ return(adapter.dispatch('rounded', 'caspr')(expression)) }}{% endmacro %}

{% macro default__rounded(expression) -%}
    round({{ expression }}, 6)
{%- endmacro %}

{#- https://www.postgresql.org/docs/current/functions-math.html: round(double) has no places and rounds halves to even, and a cast to
    numeric keeps 15 digits only. Whole part and half are therefore cut off with trunc, as round does elsewhere. Above 1e300, and for
    NaN, which sorts above it, there is nothing to round. -#}
{% macro postgres__rounded(expression) -%}
    {%- set millionths = 'cast(' ~ expression ~ ' as double precision) * 1000000' -%}
    case
        when abs({{ expression }}) < 1e300
            then (trunc({{ millionths }}) + trunc(2 * ({{ millionths }} - trunc({{ millionths }})))) / 1000000
        else {{ expression }}
    end
{%- endmacro %}

{#- https://docs.aws.amazon.com/redshift/latest/dg/r_ROUND.html -#}
{% macro redshift__rounded(expression) -%}
    round({{ expression }}, 6)
{%- endmacro %}

{#- https://spark.apache.org/docs/latest/api/sql/#round: with places it goes through decimal text, which now and then is another double. -#}
{% macro spark__rounded(expression) -%}
    (round(cast({{ expression }} as double) * 1000000) / 1000000)
{%- endmacro %}

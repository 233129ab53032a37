{#- A column of a stream or of the profile as the type of its kind; a boolean may be numerical. -#}
{% macro cast_kind(expression, kind) -%}
    {%- if kind == 'numerical' -%}
    {{ adapter.dispatch('cast_numerical_column', 'caspr')(expression) }}
    {%- else -%}
    {{ caspr.cast_categorical(expression) }}
    {%- endif -%}
{%- endmacro %}

{% macro default__cast_numerical_column(expression) -%}
    {{ caspr.cast_numerical(expression) }}
{%- endmacro %}

{#- https://www.postgresql.org/docs/current/sql-createcast.html: there is no cast from boolean to double. Text is the one type that both
    have a cast to, and the text of a double is exact (https://www.postgresql.org/docs/current/datatype-numeric.html#DATATYPE-FLOAT). -#}
{% macro postgres__cast_numerical_column(expression) -%}
    cast(
        case cast({{ expression }} as text) when 'true' then '1' when 'false' then '0' else cast({{ expression }} as text) end
        as double precision
    )
{%- endmacro %}

{#- is_numerical_type refuses a boolean on Redshift. -#}
{% macro redshift__cast_numerical_column(expression) -%}
    {{ caspr.cast_numerical(expression) }}
{%- endmacro %}

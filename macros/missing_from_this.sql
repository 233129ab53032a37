{#- In an incremental run: only rows of `source` whose key the mart does not hold (any more); else true. See _macros.yml. -#}
{% macro missing_from_this(source, key) -%}
    {%- if is_incremental() -%}
    not exists (
        select 1
        from {{ this }} as built
        where {% for column in key -%}
            built.{{ column }} = {{ source }}.{{ column }}{{ ' and ' if not loop.last }}
        {%- endfor %}
    )
    {%- else -%}
    1 = 1
    {%- endif -%}
{%- endmacro %}

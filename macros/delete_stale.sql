{#- Deletes from an incremental mart what no longer follows from the customers' activities; a pre-hook, see _macros.yml. -#}
{% macro delete_stale(current, key) -%}
    {%- if is_incremental() -%}
    {%- do caspr.drop_columns_of_another_kind() -%}
    delete from {{ this }} as stale
    where not exists (
        select 1
        from {{ current }} as current_rows
        where {% for column in key + ['customer_fingerprint'] -%}
            current_rows.{{ column }} = stale.{{ column }}{{ ' and ' if not loop.last }}
        {%- endfor %}
    )
    {%- endif -%}
{%- endmacro %}

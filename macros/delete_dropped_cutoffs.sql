{#- Deletes from an incremental mart the rows of cutoffs that are cutoffs no longer; a pre-hook. -#}
{% macro delete_dropped_cutoffs() -%}
    {%- if is_incremental() -%}
    delete from {{ this }}
    where cutoff_at not in (select cutoff_at from {{ ref('cutoffs') }})
    {%- endif -%}
{%- endmacro %}

{#- Drops from an incremental mart the attributes whose kind is another one now: dbt would cast the old values, and text has no cast to a
    number. It adds them anew, and delete_stale deletes every row, since the kind is part of the fingerprint. -#}
{% macro drop_columns_of_another_kind() %}
    {#- The marts that have the attributes themselves as columns. -#}
    {%- if model.name not in ['activity_log', 'activity_sequences'] -%}
        {{ return('') }}
    {%- endif -%}
    {%- set kinds = {} -%}
    {%- for attribute in caspr.sequence_attributes() + caspr.relative_attributes() -%}
        {%- do kinds.update({attribute.name: attribute.kind}) -%}
    {%- endfor -%}
    {%- set changed = [] -%}
    {%- for column in adapter.get_columns_in_relation(this) if column.name | lower in kinds -%}
        {%- if caspr.is_numerical_type(column) != (kinds[column.name | lower] == 'numerical') -%}
            {%- do changed.append(column) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if changed -%}
        {%- do alter_relation_add_remove_columns(this.incorporate(type='table'), none, changed) -%}
    {%- endif -%}
{% endmacro %}

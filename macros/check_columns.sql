{#- Stops, before a mart is built, if a configured column does not exist or holds what it should not. -#}
{% macro check_columns() %}
    {%- for table in caspr.streams() + [
        caspr.profile(), caspr.churn().observed, caspr.fraud(), caspr.recommendation().purchases,
    ] if table -%}
        {%- set relation = caspr.configured_model(table) -%}
        {#- A unit test's fixture and an ephemeral model are no tables to look at. -#}
        {%- set found = [] if not execute or relation.is_cte or (relation.identifier or '').startswith('__dbt__cte__')
            else adapter.get_columns_in_relation(relation) -%}
        {%- set wanted = [] -%}
        {%- for field in ['activity_id', 'customer_id'] if table.get(field) -%}
            {%- for column in table[field] -%}
                {%- do wanted.append({'key': table.key ~ '.' ~ field, 'column': column, 'kind': 'key'}) -%}
            {%- endfor -%}
        {%- endfor -%}
        {%- for field in [
            'occurred_at', 'loaded_at', 'known_at', 'valid_from', 'valid_to', 'activity_type_column', 'is_churned', 'is_fraud', 'item',
        ] if table.get(field) -%}
            {%- do wanted.append({
                'key': table.key ~ '.' ~ field,
                'column': table[field],
                'kind': {
                    'activity_type_column': 'categorical', 'item': 'categorical', 'is_churned': 'boolean', 'is_fraud': 'boolean',
                }.get(field, 'time'),
            }) -%}
        {%- endfor -%}
        {%- for attribute in table.attributes -%}
            {%- do wanted.append({'key': attribute.key ~ '.column', 'column': attribute.column, 'kind': attribute.kind}) -%}
        {%- endfor -%}
        {%- for column in wanted if found -%}
            {%- set named = [] -%}
            {%- for one in found if caspr.is_named(one.name, column.column) -%}
                {%- do named.append(one) -%}
            {%- endfor -%}
            {%- set actual = named | first -%}
            {%- if not named -%}
                {%- do caspr.bad_setting(
                    column.key, column.column, "a column of model '" ~ table.model ~ "', which has: " ~ found | map(attribute='name') | join(', ')
                ) -%}
            {%- elif column.kind == 'time' and not caspr.is_time_type(actual) -%}
                {%- do caspr.bad_setting(
                    column.key, column.column,
                    "a column of times; in model '" ~ table.model ~ "' its type is " ~ actual.dtype ~ ' (cast it there)'
                ) -%}
            {%- elif column.kind == 'boolean' and not (actual.dtype | lower).startswith('bool') -%}
                {%- do caspr.bad_setting(
                    column.key, column.column,
                    "a boolean column; in model '" ~ table.model ~ "' its type is " ~ actual.dtype ~ ' (cast it there)'
                ) -%}
            {%- elif column.kind == 'numerical' and not caspr.is_numerical_type(actual) -%}
                {%- do caspr.bad_setting(
                    column.key, column.column,
                    "a column of numbers; in model '" ~ table.model ~ "' its type is " ~ actual.dtype ~ ' (cast it there, or say kind: categorical)'
                ) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
{% endmacro %}

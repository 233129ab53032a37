{#- The attributes of all streams, each name once, in the order in which they first appear. -#}
{% macro sequence_attributes() %}
    {%- set attributes = {} -%}
    {%- set role_owners = {} -%}
    {%- for stream in caspr.streams() -%}
        {%- for attribute in stream.attributes -%}
            {%- set first = attributes.get(attribute.name, attribute) -%}
            {%- for field in ['kind', 'role', 'relative'] if attribute[field] != first[field] -%}
                {%- do caspr.bad_setting(
                    attribute.key ~ '.' ~ field,
                    attribute[field],
                    (first[field] if first[field] is not none else 'no role') ~ " as in " ~ first.key ~ ": '" ~ attribute.name ~ "' is one attribute of both streams"
                ) -%}
            {%- endfor -%}
            {%- if attribute.role is not none -%}
                {%- set owner = role_owners.get(attribute.role, attribute) -%}
                {%- if owner.name != attribute.name -%}
                    {%- do caspr.bad_setting(
                        attribute.key ~ '.role', attribute.role, "one attribute with that role; '" ~ owner.name ~ "' (" ~ owner.key ~ ') has it'
                    ) -%}
                {%- endif -%}
                {%- do role_owners.update({attribute.role: owner}) -%}
            {%- endif -%}
            {%- do attributes.update({attribute.name: first}) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- for attribute in attributes.values() if attribute.relative and attribute.name ~ '_relative' in attributes -%}
        {%- do caspr.bad_setting(
            attribute.key ~ '.relative', true, "no other attribute of the name '" ~ attribute.name ~ "_relative', which this one makes"
        ) -%}
    {%- endfor -%}
    {{ return(attributes.values() | list) }}
{% endmacro %}

-- The schema of the sequences and profiles, from which the trainer learns what to read.
-- Built after the mart whose first act is to check that the columns exist.
-- depends_on: {{ ref('rejected_activities') }}
{%- set profile = caspr.profile() %}
{%- set attributes = [{'name': 'activity_type', 'kind': 'categorical', 'role': none, 'scope': 'sequence'}] %}
{%- for attribute in caspr.sequence_attributes() + caspr.relative_attributes() %}
    {%- do attributes.append(dict(attribute, scope='sequence')) %}
{%- endfor %}
{%- for attribute in (profile.attributes if profile else []) %}
    {%- do attributes.append(dict(attribute, scope='profile')) %}
{%- endfor %}

with

final as (
    {%- for attribute in attributes %}
    select
        {{ caspr.text_literal(attribute.name) }} as attribute_name,
        {{ caspr.text_literal(attribute.scope) }} as scope,
        {{ caspr.text_literal(attribute.kind) }} as kind,
        {{ caspr.text_literal(attribute.role) if attribute.role else caspr.cast_categorical('null') }} as role,
        {{ caspr.text_literal(attribute.name) }} as column_name,
        {{ loop.index }} as attribute_rank
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select
    attribute_name,
    scope,
    kind,
    role,
    column_name,
    attribute_rank
from final

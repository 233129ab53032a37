{#- The one total order of a customer's activities: time, then the stream's place in the list, then the bytes of the key. -#}
{% macro activity_order() -%}
    occurred_at, stream_rank, {{ caspr.text_order('activity_id') }}
{%- endmacro %}

{#- What the setting `champions` says predictions are to be made with, by task; see _macros.yml. -#}
{% macro champions() %}
    {%- set given = caspr.setting('champions', {}) -%}
    {%- do caspr.check_keys('champions', given, caspr.tasks()) -%}
    {%- for task, choice in given.items() -%}
        {%- if task == 'recommendation' -%}
            {%- set learners, representations = ['ranking'], caspr.recommenders() -%}
        {%- else -%}
            {%- set learners = ['random_forest', 'lightgbm'] -%}
            {%- set representations = ['rfm', 'rfm_content', 'caspr', 'caspr_rfm', 'caspr_rfm_content'] -%}
        {%- endif -%}
        {%- do caspr.check_keys('champions.' ~ task, choice, ['learner', 'representation']) -%}
        {%- for key, accepted in [('learner', learners), ('representation', representations)] -%}
            {%- if choice.get(key) not in accepted -%}
                {%- do caspr.bad_setting('champions.' ~ task ~ '.' ~ key, choice.get(key), 'one of ' ~ accepted | join(', ')) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(given) }}
{% endmacro %}

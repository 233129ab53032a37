-- With two outcomes the first would end the student's story for every later cutoff.
select
    code_module,
    code_presentation,
    id_student
from {{ ref('stg_outcomes') }}
group by code_module, code_presentation, id_student
having count(*) > 1

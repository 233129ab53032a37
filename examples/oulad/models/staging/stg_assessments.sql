-- Which presentation an assessment belongs to: the one in which everybody who handed it in is registered. There is exactly one such
-- presentation for each of the 188 assessments; of any other at most 42 % are registered there, too.
with

submissions as (
    select * from {{ source('open_university', 'oulad_student_assessment') }}
),

registrations as (
    select * from {{ source('open_university', 'oulad_registration') }}
),

students_of_assessments as (
    select
        id_assessment,
        count(*) as students
    from submissions
    group by id_assessment
),

registered as (
    select
        submissions.id_assessment,
        registrations.code_module,
        registrations.code_presentation,
        count(*) as students
    from submissions
    inner join registrations on submissions.id_student = registrations.id_student
    group by submissions.id_assessment, registrations.code_module, registrations.code_presentation
),

final as (
    select
        registered.id_assessment,
        registered.code_module,
        registered.code_presentation
    from registered
    inner join students_of_assessments
        on registered.id_assessment = students_of_assessments.id_assessment
        and registered.students = students_of_assessments.students
)

select
    id_assessment,
    code_module,
    code_presentation
from final

-- What became of the students: withdrawn on the day of un-registration, or judged at the end of the presentation.
with

registrations as (
    select * from {{ source('open_university', 'oulad_registration') }}
),

students as (
    select * from {{ source('open_university', 'oulad_info') }}
),

presentations as (
    select * from {{ ref('stg_presentations') }}
),

final as (
    select
        students.code_module,
        students.code_presentation,
        students.id_student,

        students.final_result,

        registrations.du is not null or students.final_result in ('Fail', 'Withdrawn') as is_failed_or_withdrawn,
        -- The day counts, not the word: three of those who withdrew have failed, says final_result.
        registrations.du is not null as is_withdrawn,

        coalesce(presentations.started_at + to_days(cast(registrations.du as integer)), presentations.ended_at) as ended_at
    from students
    inner join registrations
        on students.code_module = registrations.code_module
        and students.code_presentation = registrations.code_presentation
        and students.id_student = registrations.id_student
    inner join presentations
        on students.code_module = presentations.code_module
        and students.code_presentation = presentations.code_presentation
)

select
    code_module,
    code_presentation,
    id_student,
    final_result,
    is_failed_or_withdrawn,
    is_withdrawn,
    ended_at
from final

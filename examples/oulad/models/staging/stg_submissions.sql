-- The second stream: what a student handed in. A banked result is none: it is carried over from an earlier presentation.
with

source as (
    select * from {{ source('open_university', 'oulad_student_assessment') }} where not is_banked
),

assessments as (
    select * from {{ ref('stg_assessments') }}
),

presentations as (
    select * from {{ ref('stg_presentations') }}
),

final as (
    select
        assessments.code_module,
        assessments.code_presentation,
        source.id_student,
        source.id_assessment,

        source.score,

        -- The score is known only when it is marked, but the data set does not say when that is.
        presentations.started_at + to_days(cast(source.date_submitted as integer)) as submitted_at
    from source
    inner join assessments on source.id_assessment = assessments.id_assessment
    inner join presentations
        on assessments.code_module = presentations.code_module
        and assessments.code_presentation = presentations.code_presentation
)

select
    code_module,
    code_presentation,
    id_student,
    id_assessment,
    score,
    submitted_at
from final

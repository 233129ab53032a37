-- The profile: what the university knows at the registration. final_result is the outcome and stays out.
with

source as (
    select * from {{ source('open_university', 'oulad_info') }}
),

presentations as (
    select * from {{ ref('stg_presentations') }}
),

final as (
    select
        source.code_module,
        source.code_presentation,
        source.id_student,

        source.gender,
        source.region,
        source.highest_education,
        -- One band of ten is written without its sign.
        case source.imd_band when '10-20' then '10-20%' else source.imd_band end as imd_band,
        source.age_band,

        source.num_of_prev_attempts as previous_attempts,
        source.studied_credits,

        source.disability = 'Y' as has_disability
    from source
    inner join presentations
        on source.code_module = presentations.code_module
        and source.code_presentation = presentations.code_presentation
)

select
    code_module,
    code_presentation,
    id_student,
    gender,
    region,
    highest_education,
    imd_band,
    age_band,
    previous_attempts,
    studied_credits,
    has_disability
from final

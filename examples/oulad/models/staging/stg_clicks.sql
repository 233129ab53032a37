-- The first stream: a student's clicks on one page on one day.
with

source as (
    select * from {{ source('open_university', 'oulad_vle') }}
),

sites as (
    select * from {{ source('open_university', 'oulad_vle_sites') }}
),

presentations as (
    select * from {{ ref('stg_presentations') }}
),

-- 1,048,575 rows become 773,216.
days as (
    select
        code_module,
        code_presentation,
        id_student,
        id_site,
        date as day,
        sum(sum_click) as clicks
    from source
    group by code_module, code_presentation, id_student, id_site, date
),

final as (
    select
        days.code_module,
        days.code_presentation,
        days.id_student,
        days.id_site,

        -- The page itself is no attribute: each presentation has its own, so that a later one would hold none of those learnt.
        sites.activity_type as page_type,

        cast(days.clicks as bigint) as clicks,

        presentations.started_at + to_days(cast(days.day as integer)) as clicked_at
    from days
    inner join presentations
        on days.code_module = presentations.code_module
        and days.code_presentation = presentations.code_presentation
    left join sites on days.id_site = sites.id_site
)

select
    code_module,
    code_presentation,
    id_student,
    id_site,
    page_type,
    clicks,
    clicked_at
from final

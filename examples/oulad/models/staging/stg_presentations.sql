-- The presentations whose clicks are complete up to day 60. The data set gives the month of the start only (B is February, J October);
-- the first of it is a choice. A presentation is as long as its clicks; BBB 2013J, whose clicks break off, as long as AAA 2013J.
with

final as (
    select
        code_module,
        code_presentation,

        started_at,
        started_at + to_days(length_days) as ended_at
    from (
        values
            ('BBB', '2013B', timestamp '2013-02-01', 240),
            ('AAA', '2013J', timestamp '2013-10-01', 268),
            ('BBB', '2013J', timestamp '2013-10-01', 268),
            ('AAA', '2014J', timestamp '2014-10-01', 269)
    ) as presentations (code_module, code_presentation, started_at, length_days)
)

select
    code_module,
    code_presentation,
    started_at,
    ended_at
from final

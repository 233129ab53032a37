-- What became of the members. The publisher's rule: churned, if there is no new valid subscription within 30 days after a membership
-- ends. train.csv tells it of the memberships that ended in February 2017; the transactions end with that month and cannot. For all earlier
-- ones the rule is applied here.
{%- set first_cutoff = "timestamp '2016-12-01'" %}
{%- set february = "timestamp '2017-02-01'" %}

with

transactions as (
    select * from {{ ref('stg_transactions') }}
),

labels as (
    select * from {{ source('kaggle', 'train') }}
),

-- What the last transaction of a day leaves: who cancels one plan and takes another on the same day, has the other.
days as (
    select
        member_id,
        transacted_at,
        coalesce(max(case when not is_cancel then expires_at end), max(expires_at)) as expires_at
    from transactions
    group by member_id, transacted_at
),

memberships as (
    select
        member_id,
        expires_at,
        lead(transacted_at) over (partition by member_id order by transacted_at) as next_transacted_at
    from days
),

-- Memberships that ended on 30 and 31 January are seen for 29 and 28 of the 30 days only.
by_rule as (
    select
        member_id,
        true as is_churned,
        -- 30 days have passed when the 31st begins.
        expires_at + interval 31 days as known_at
    from memberships
    where expires_at < {{ february }}
        and (next_transacted_at is null or next_transacted_at > expires_at + interval 30 days)
        -- Whoever has come back by the first cutoff can be lost again.
        and (next_transacted_at is null or next_transacted_at >= {{ first_cutoff }})
),

published as (
    select
        msno as member_id,
        is_churn = '1' as is_churned,
        -- The file has no dates. By then 30 days have passed for the last day of February, too.
        {{ february }} + interval 58 days as known_at
    from labels
),

final as (
    select member_id, is_churned, known_at from by_rule
    union all
    select member_id, is_churned, known_at from published
)

select
    member_id,
    is_churned,
    known_at
from final

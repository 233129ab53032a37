-- Between the end of a membership and the day on which its churn is known lies no subscription. February's ends are the publisher's word.
select
    outcomes.member_id,
    outcomes.known_at,
    transactions.transacted_at
from {{ ref('stg_outcomes') }} as outcomes
inner join {{ ref('stg_transactions') }} as transactions on outcomes.member_id = transactions.member_id
where outcomes.is_churned
    and outcomes.known_at != timestamp '2017-03-31'
    and not transactions.is_cancel
    and transactions.transacted_at > outcomes.known_at - interval 31 days
    and transactions.transacted_at < outcomes.known_at

-- The paper's Tables 4 and 5 in long form: what was measured at the evaluate cutoffs, all tasks under each other.
with

churn as (
    select * from {{ caspr.scored('churn_performance') }}
),

lifetime_value as (
    select * from {{ caspr.scored('lifetime_value_performance') }}
),

final as (
    select
        task,
        learner,
        representation,
        cutoff_at,
        metric,
        value,
        standard_error,
        customers,
        note
    from churn
    union all
    select
        task,
        learner,
        representation,
        cutoff_at,
        metric,
        value,
        standard_error,
        customers,
        note
    from lifetime_value
)

select
    task,
    learner,
    representation,
    cutoff_at,
    metric,
    value,
    standard_error,
    customers,
    note
from final

-- Lifetime value: what is used of the scores, those at the score cutoff.
with

scores as (
    select * from {{ ref('lifetime_value_scores') }} where cutoff_role = 'score'
),

cutoffs as (
    select * from {{ ref('cutoffs') }}
),

-- A control shows what columns without content give; it is measured, and nobody acts on it.
without_controls as (
    select * from scores where not is_control
),

final as (
    select
        without_controls.customer_id,
        without_controls.cutoff_at,
        cutoffs.horizon_ends_at,
        without_controls.learner,
        without_controls.representation,
        without_controls.predicted_revenue,
        without_controls.high_value_probability
    from without_controls
    inner join cutoffs on without_controls.cutoff_at = cutoffs.cutoff_at
)

select
    customer_id,
    cutoff_at,
    horizon_ends_at,
    learner,
    representation,
    predicted_revenue,
    high_value_probability
from final

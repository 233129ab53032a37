-- Lifetime value: what is used of the scores, those at the score cutoff.
with

scores as (
    select * from {{ caspr.scored('lifetime_value_scores') }}
    where cutoff_role = 'score'
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

-- The models were fitted on customers at risk: nothing is said of others.
at_risk as (
    select * from customer_cutoffs
    where is_at_risk
),

-- A control shows what columns without content give; it is measured, and nobody acts on it.
without_controls as (
    select * from scores
    where not is_control
),

final as (
    select
        without_controls.customer_id,
        without_controls.cutoff_at,
        {{ caspr.add_days('without_controls.cutoff_at', caspr.horizon_days('lifetime_value')) }} as horizon_ends_at,
        without_controls.learner,
        without_controls.representation,
        without_controls.predicted_revenue,
        without_controls.high_value_probability
    from without_controls
    inner join at_risk
        on without_controls.customer_id = at_risk.customer_id
        and without_controls.cutoff_at = at_risk.cutoff_at
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

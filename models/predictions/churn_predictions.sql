-- Churn: what is used of the scores, those at the score cutoff.
with

scores as (
    select * from {{ caspr.scored('churn_scores') }}
    where cutoff_role = 'score'
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

{% set observed = caspr.churn().observed -%}
{% if observed -%}
outcomes as (
    {{ caspr.observed_outcomes(observed) | indent(4) }}
),

{% endif -%}
-- The models were fitted on customers at risk: nothing is said of others.
at_risk as (
    {{ caspr.customers_at_risk_of_churn() | indent(4) }}
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
        {{ caspr.add_days('without_controls.cutoff_at', caspr.horizon_days('churn')) }} as horizon_ends_at,
        without_controls.learner,
        without_controls.representation,
        without_controls.churn_probability,
        without_controls.is_churn_predicted
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
    churn_probability,
    is_churn_predicted
from final

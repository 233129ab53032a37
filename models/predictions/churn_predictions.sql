-- Churn: what the champion says of every customer who can still churn.
with

scores as (
    select * from {{ caspr.scored('churn_scores') }}
),

customer_cutoffs as (
    select * from {{ ref('customer_cutoffs') }}
),

customers_without_activity as (
    select * from {{ ref('customers_without_activity') }}
),

customers as (
    {{ caspr.scored_customers() | indent(4) }}
),

{% set observed = caspr.churn().observed -%}
{% if observed -%}
outcomes as (
    {{ caspr.observed_outcomes(observed) | indent(4) }}
),

{% endif -%}
-- The models were fitted on customers at risk: nothing is said of others.
at_risk as (
    {{ caspr.customers_at_risk_of_churn('customers') | indent(4) }}
),

final as (
    select
        scores.customer_id,
        scores.cutoff_at,
        {{ caspr.add_days('scores.cutoff_at', caspr.horizon_days('churn')) }} as horizon_ends_at,
        scores.churn_probability,
        scores.churn_probability >= 0.5 as is_churn_predicted,
        cast(ntile(10) over (
            partition by scores.cutoff_at, at_risk.has_activity
            order by scores.churn_probability desc, {{ caspr.text_order('scores.customer_id') }} asc
        ) as integer) as decile,
        at_risk.has_activity,
        scores.learner,
        scores.representation,
        scores.note
    from scores
    inner join at_risk
        on scores.customer_id = at_risk.customer_id
        and scores.cutoff_at = at_risk.cutoff_at
)

select
    customer_id,
    cutoff_at,
    horizon_ends_at,
    churn_probability,
    is_churn_predicted,
    decile,
    has_activity,
    learner,
    representation,
    note
from final

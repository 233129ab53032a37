-- Lifetime value: what the champion says of every customer at risk.
with

scores as (
    select * from {{ caspr.scored('lifetime_value_scores') }}
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

-- The models were fitted on customers at risk: nothing is said of others.
at_risk as (
    select * from customers
    where is_at_risk
),

final as (
    select
        scores.customer_id,
        scores.cutoff_at,
        {{ caspr.add_days('scores.cutoff_at', caspr.horizon_days('lifetime_value')) }} as horizon_ends_at,
        scores.predicted_revenue,
        scores.high_value_probability,
        cast(ntile(10) over (
            partition by scores.cutoff_at, at_risk.has_activity
            order by scores.predicted_revenue desc, {{ caspr.text_order('scores.customer_id') }} asc
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
    predicted_revenue,
    high_value_probability,
    decile,
    has_activity,
    learner,
    representation,
    note
from final

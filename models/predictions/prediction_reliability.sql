-- Whether what was given a probability of 30 % happened in 30 % of the cases: ten equal ranges of the probability.
with

evaluated as (
    {{ caspr.evaluated_scores('is_probability') | trim }}
),

ranged as (
    select
        *,
        cast(case when score >= 1 then 9 when score <= 0 then 0 else floor(score * 10) end as integer) as place
    from evaluated
),

final as (
    select
        task,
        outcome_name,
        cutoff_at,
        learner,
        representation,
        {{ caspr.cast_numerical('place / 10.0') }} as probability_from,
        {{ caspr.cast_numerical('(place + 1) / 10.0') }} as probability_to,
        count(*) as customers,
        {{ caspr.cast_numerical('avg(score)') }} as mean_probability,
        {{ caspr.cast_numerical('avg(outcome)') }} as observed_share
    from ranged
    group by task, outcome_name, cutoff_at, learner, representation, place
)

select
    task,
    outcome_name,
    cutoff_at,
    learner,
    representation,
    probability_from,
    probability_to,
    customers,
    mean_probability,
    observed_share
from final

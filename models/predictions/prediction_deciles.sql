-- How much of what happened the highest scored customers held, by tenths of the customers.
with

evaluated as (
    {{ caspr.evaluated_scores('is_ranked') | trim }}
),

ranked as (
    select
        *,
        ntile(10) over (
            partition by task, outcome_name, cutoff_at, learner, representation
            order by score desc, {{ caspr.text_order('customer_id') }} asc
        ) as decile
    from evaluated
),

deciles as (
    select
        task,
        outcome_name,
        cutoff_at,
        learner,
        representation,
        cast(decile as integer) as decile,
        count(*) as customers,
        {{ caspr.cast_numerical('avg(score)') }} as mean_score,
        {{ caspr.cast_numerical('avg(outcome)') }} as mean_outcome,
        {{ caspr.cast_numerical('sum(outcome)') }} as outcome_sum
    from ranked
    group by task, outcome_name, cutoff_at, learner, representation, decile
),

totals as (
    select
        *,
        sum(outcome_sum) over (partition by task, outcome_name, cutoff_at, learner, representation) as total,
        sum(customers) over (partition by task, outcome_name, cutoff_at, learner, representation) as everybody,
        sum(outcome_sum) over (
            partition by task, outcome_name, cutoff_at, learner, representation
            order by decile rows between unbounded preceding and current row
        ) as outcome_so_far
    from deciles
),

final as (
    select
        task,
        outcome_name,
        cutoff_at,
        learner,
        representation,
        decile,
        customers,
        mean_score,
        mean_outcome,
        case when total > 0 then mean_outcome / (total / everybody) end as lift,
        case when total > 0 then outcome_sum / total end as captured_share,
        case when total > 0 then outcome_so_far / total end as captured_share_so_far
    from totals
)

select
    task,
    outcome_name,
    cutoff_at,
    learner,
    representation,
    decile,
    customers,
    mean_score,
    mean_outcome,
    lift,
    captured_share,
    captured_share_so_far
from final

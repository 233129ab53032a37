-- A model that is measured at the evaluate cutoff must not have been fitted on what happens after it.
select
    train.cutoff_at as train_cutoff_at,
    train.horizon_ends_at,
    evaluate.cutoff_at as evaluate_cutoff_at
from {{ ref('cutoffs') }} as train
inner join {{ ref('cutoffs') }} as evaluate on train.horizon_ends_at > evaluate.cutoff_at
where train.role = 'train' and evaluate.role = 'evaluate'

"""How good the lifetime-value scores were where the revenue is known by now."""

from caspr_train.tasks import lifetime_value
from caspr_train.tasks.frames import to_pandas


def model(dbt, session):
    dbt.config(materialized="table")
    return lifetime_value.performance(
        scores=to_pandas(dbt.ref("lifetime_value_scores").filter("cutoff_role = 'evaluate'")),
        lifetime_value_labels=to_pandas(dbt.ref("lifetime_value_labels")),
    )

"""How good the churn scores were where the outcome is known by now."""

from caspr_train.tasks import churn
from caspr_train.tasks.frames import to_pandas


def model(dbt, session):
    dbt.config(materialized="table")
    return churn.performance(
        scores=to_pandas(dbt.ref("churn_scores").filter("cutoff_role = 'evaluate'")),
        churn_labels=to_pandas(dbt.ref("churn_labels")),
    )

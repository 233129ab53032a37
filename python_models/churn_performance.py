"""How good the churn probabilities were where the outcome is known by now."""

from caspr_train.tasks.churn import CHURN
from caspr_train.tasks.frames import to_pandas
from caspr_train.tasks.performance import performance


def model(dbt, session):
    dbt.config(materialized="table")
    return performance(to_pandas(dbt.ref("churn_evaluation")), CHURN)

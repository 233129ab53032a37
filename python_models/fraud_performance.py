"""How good the fraud probabilities were where the outcome is known by now."""

from caspr_train.tasks.frames import to_pandas
from caspr_train.tasks.fraud import FRAUD
from caspr_train.tasks.performance import performance


def model(dbt, session):
    dbt.config(materialized="table")
    return performance(to_pandas(dbt.ref("fraud_evaluation")), FRAUD)

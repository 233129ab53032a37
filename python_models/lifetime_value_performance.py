"""How good the predicted revenue was where the outcome is known by now."""

from caspr_train.tasks.frames import to_pandas
from caspr_train.tasks.lifetime_value import LIFETIME_VALUE
from caspr_train.tasks.performance import performance


def model(dbt, session):
    dbt.config(materialized="table")
    return performance(to_pandas(dbt.ref("lifetime_value_evaluation")), LIFETIME_VALUE)

"""How good the recommenders were where it is known by now what was bought."""

from caspr_train.tasks import recommendation
from caspr_train.tasks.frames import to_pandas


def model(dbt, session):
    dbt.config(materialized="table")
    return recommendation.performance(to_pandas(dbt.ref("recommendation_evaluation")))

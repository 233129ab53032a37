"""How good the churn scores were where the outcome is known by now."""

from caspr_train.tasks import churn


def model(dbt, session):
    dbt.config(materialized="table")
    return churn.performance(
        scores=dbt.ref("churn_scores").filter("cutoff_role = 'evaluate'").df(),
        churn_labels=dbt.ref("churn_labels").df(),
    )

"""Churn probabilities at the evaluate and the score cutoff; everything but the four tables is in caspr_train.tasks."""

from caspr_train.tasks import churn
from caspr_train.tasks.frames import to_pandas


def model(dbt, session):
    dbt.config(materialized="table")
    return churn.score(
        rfm_features=to_pandas(dbt.ref("rfm_features")),
        customer_embeddings=to_pandas(dbt.ref("customer_embeddings")),
        churn_labels=to_pandas(dbt.ref("churn_labels")),
        cutoffs=to_pandas(dbt.ref("cutoffs")),
    )

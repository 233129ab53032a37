"""Churn probabilities at the evaluate and the score cutoff; everything but the four tables is in caspr_train.tasks."""

from caspr_train.tasks import churn


def model(dbt, session):
    dbt.config(materialized="table")
    return churn.score(
        rfm_features=dbt.ref("rfm_features").df(),
        customer_embeddings=dbt.ref("customer_embeddings").df(),
        churn_labels=dbt.ref("churn_labels").df(),
        cutoffs=dbt.ref("cutoffs").df(),
    )

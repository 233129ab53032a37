"""Churn probabilities at the evaluate cutoffs, by every learner and representation, beside what happened."""

from caspr_train.tasks import protocol
from caspr_train.tasks.churn import CHURN
from caspr_train.tasks.frames import reader


def model(dbt, session):
    dbt.config(materialized="table")
    read = reader(
        rfm_features=dbt.ref("rfm_features"),
        customer_profiles=dbt.ref("customer_profiles"),
        content_features=dbt.ref("content_features"),
        customer_embeddings=dbt.ref("customer_embeddings"),
        control_embeddings=dbt.ref("control_embeddings"),
        churn_labels=dbt.ref("churn_labels"),
        cutoffs=dbt.ref("cutoffs"),
        customer_counts=dbt.ref("customer_counts"),
        label_counts=dbt.ref("label_counts"),
        task_settings=dbt.ref("task_settings"),
        rfm_scores=dbt.ref("rfm_scores"),
    )
    return protocol.evaluate(read, CHURN)

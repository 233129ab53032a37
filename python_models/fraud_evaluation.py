"""Fraud probabilities at the evaluate cutoffs, by every learner and representation, beside what happened."""

from caspr_train.tasks import protocol
from caspr_train.tasks.frames import reader
from caspr_train.tasks.fraud import FRAUD


def model(dbt, session):
    dbt.config(materialized="table")
    read = reader(
        rfm_features=dbt.ref("rfm_features"),
        customer_profiles=dbt.ref("customer_profiles"),
        content_features=dbt.ref("content_features"),
        customer_embeddings=dbt.ref("customer_embeddings"),
        control_embeddings=dbt.ref("control_embeddings"),
        fraud_labels=dbt.ref("fraud_labels"),
        cutoffs=dbt.ref("cutoffs"),
        task_settings=dbt.ref("task_settings"),
        customer_counts=dbt.ref("customer_counts"),
        label_counts=dbt.ref("label_counts"),
    )
    return protocol.evaluate(read, FRAUD)

"""Revenue, and who will be of high value, at the score cutoff, by the champion of model_leaderboard."""

from caspr_train.tasks import protocol
from caspr_train.tasks.frames import reader
from caspr_train.tasks.lifetime_value import LIFETIME_VALUE


def model(dbt, session):
    dbt.config(materialized="table")
    read = reader(
        rfm_features=dbt.ref("rfm_features"),
        customer_profiles=dbt.ref("customer_profiles"),
        content_features=dbt.ref("content_features"),
        customer_embeddings=dbt.ref("customer_embeddings"),
        lifetime_value_labels=dbt.ref("lifetime_value_labels"),
        cutoffs=dbt.ref("cutoffs"),
        task_settings=dbt.ref("task_settings"),
        customer_counts=dbt.ref("customer_counts"),
        label_counts=dbt.ref("label_counts"),
        customers_without_activity=dbt.ref("customers_without_activity"),
        model_leaderboard=dbt.ref("model_leaderboard"),
    )
    return protocol.score(read, LIFETIME_VALUE)

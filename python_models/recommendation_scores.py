"""The items to recommend to each customer at the score cutoff, by the champion of model_leaderboard."""

from caspr_train.tasks import recommendation
from caspr_train.tasks.frames import reader


def model(dbt, session):
    dbt.config(materialized="table")
    read = reader(
        cutoffs=dbt.ref("cutoffs"),
        task_settings=dbt.ref("task_settings"),
        customer_counts=dbt.ref("customer_counts"),
        customers_without_activity=dbt.ref("customers_without_activity"),
        customer_cutoffs=dbt.ref("customer_cutoffs"),
        purchase_history=dbt.ref("purchase_history"),
        item_popularity=dbt.ref("item_popularity"),
        purchase_labels=dbt.ref("purchase_labels"),
        customer_embeddings=dbt.ref("customer_embeddings"),
        item_embeddings=dbt.ref("item_embeddings"),
        model_leaderboard=dbt.ref("model_leaderboard"),
    )
    return recommendation.score(read)

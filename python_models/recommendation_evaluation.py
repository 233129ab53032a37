"""How well each recommender ranked what a customer then bought, customer by customer, at the evaluate cutoffs."""

from caspr_train.tasks import recommendation
from caspr_train.tasks.frames import reader


def model(dbt, session):
    dbt.config(materialized="table")
    read = reader(
        cutoffs=dbt.ref("cutoffs"),
        task_settings=dbt.ref("task_settings"),
        customer_counts=dbt.ref("customer_counts"),
        customer_cutoffs=dbt.ref("customer_cutoffs"),
        purchase_history=dbt.ref("purchase_history"),
        item_popularity=dbt.ref("item_popularity"),
        purchase_labels=dbt.ref("purchase_labels"),
        customer_embeddings=dbt.ref("customer_embeddings"),
        item_embeddings=dbt.ref("item_embeddings"),
    )
    return recommendation.evaluate(read)

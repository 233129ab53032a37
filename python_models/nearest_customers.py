"""Whose vectors point in the most similar directions."""

from caspr_train.tasks import neighbours
from caspr_train.tasks.frames import reader


def model(dbt, session):
    dbt.config(materialized="table")
    return neighbours.similar(
        reader(cutoffs=dbt.ref("cutoffs"), customer_embeddings=dbt.ref("customer_embeddings")),
    )

"""Which segment each customer's vector lies in."""

from caspr_train.tasks import segments
from caspr_train.tasks.frames import reader


def model(dbt, session):
    dbt.config(materialized="table")
    return segments.segments(
        reader(cutoffs=dbt.ref("cutoffs"), customer_embeddings=dbt.ref("customer_embeddings")),
    )

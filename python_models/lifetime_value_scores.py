"""Revenue to come and the chance of being of high value, at the evaluate and the score cutoff."""

from caspr_train.tasks import lifetime_value
from caspr_train.tasks.frames import to_pandas


def model(dbt, session):
    dbt.config(materialized="table")
    return lifetime_value.score(
        rfm_features=to_pandas(dbt.ref("rfm_features")),
        customer_embeddings=to_pandas(dbt.ref("customer_embeddings")),
        lifetime_value_labels=to_pandas(dbt.ref("lifetime_value_labels")),
        cutoffs=to_pandas(dbt.ref("cutoffs")),
    )

"""Revenue to come and the chance of being of high value, at the evaluate and the score cutoff."""

from caspr_train.tasks import lifetime_value


def model(dbt, session):
    dbt.config(materialized="table")
    return lifetime_value.score(
        rfm_features=dbt.ref("rfm_features").df(),
        customer_embeddings=dbt.ref("customer_embeddings").df(),
        lifetime_value_labels=dbt.ref("lifetime_value_labels").df(),
        cutoffs=dbt.ref("cutoffs").df(),
    )

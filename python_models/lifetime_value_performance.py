"""How good the lifetime-value scores were where the revenue is known by now."""

from caspr_train.tasks import lifetime_value


def model(dbt, session):
    dbt.config(materialized="table")
    return lifetime_value.performance(
        scores=dbt.ref("lifetime_value_scores").filter("cutoff_role = 'evaluate'").df(),
        lifetime_value_labels=dbt.ref("lifetime_value_labels").df(),
    )

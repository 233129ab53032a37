"""What tells each segment from everybody."""

from caspr_train.tasks import segments
from caspr_train.tasks.frames import reader, to_pandas


def model(dbt, session):
    dbt.config(materialized="table")
    return segments.differences(
        to_pandas(dbt.ref("segment_assignments")),
        reader(
            rfm_features=dbt.ref("rfm_features"),
            content_features=dbt.ref("content_features"),
            attribute_values=dbt.ref("attribute_values"),
        ),
    )

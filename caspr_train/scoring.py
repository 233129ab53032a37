"""What dbt's Python models do, for warehouses that run none: marts in, tables of scores out."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from caspr_train.errors import UsageError
from caspr_train.project import DbtProject
from caspr_train.tasks import churn, lifetime_value, neighbours, segments
from caspr_train.warehouse import Reader


def expect_no_python_models(project: DbtProject) -> None:
    """Raise UsageError where dbt scores by itself: a second table of scores would be read by nobody."""
    if project.scores_by_itself():
        raise UsageError(
            f"target {project.target} is of type {project.credentials.type}, where dbt runs the Python models that "
            "score: run `dbt build --select source:caspr_trained+` instead"
        )


def score_tables(reader: Reader) -> dict[str, pa.Table]:
    """The tables of scores by name, from the marts; the same functions as python_models/*.py call. Raises DataError."""

    def mart(name: str, condition: str = "") -> pd.DataFrame:
        where = f" where {condition}" if condition else ""
        return reader.query(f"select * from {{{name}}}{where}").to_pandas()

    shared = {name: mart(name) for name in ("rfm_features", "customer_embeddings", "cutoffs")}
    churn_labels, lifetime_value_labels = mart("churn_labels"), mart("lifetime_value_labels")
    churn_scores = churn.score(churn_labels=churn_labels, **shared)
    lifetime_value_scores = lifetime_value.score(lifetime_value_labels=lifetime_value_labels, **shared)
    assignments = segments.segments(mart)
    frames = {
        "churn_scores": churn_scores,
        "churn_performance": churn.performance(churn_scores, churn_labels),
        "lifetime_value_scores": lifetime_value_scores,
        "lifetime_value_performance": lifetime_value.performance(lifetime_value_scores, lifetime_value_labels),
        "segment_assignments": assignments,
        "segment_differences": segments.differences(assignments, mart),
        "nearest_customers": neighbours.similar(mart),
    }
    return {name: _arrow(frame) for name, frame in frames.items()}


def _arrow(frame: pd.DataFrame) -> pa.Table:
    """With text as plain strings and times in microseconds, as every warehouse takes them."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    for place, field in enumerate(table.schema):
        if pa.types.is_large_string(field.type):
            table = table.set_column(place, field.name, table[place].cast(pa.string()))
        elif pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table[place].cast(pa.timestamp("us")))
    return table

"""What is written: the trainer's files and the tables of scores, as streams of Arrow batches, a table each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from caspr_train.errors import DataError
from caspr_train.project import DbtProject

RUN_TABLES = ("customer_embeddings", "item_embeddings", "control_embeddings", "training_runs")


@dataclass
class NewRows:
    """The rows that replace those of a table: all of them or, with `versions`, only those of these model versions."""

    rows: int
    batches: pa.RecordBatchReader
    versions: list[str] | None = None


def of_run(run: Path) -> dict[str, NewRows]:
    """The files of a run's folder, which replace the rows of its version only.

    DataError: a file is no Parquet.
    """
    tables: dict[str, NewRows] = {}
    for name in reversed(RUN_TABLES):  # training_runs has one row and names the version
        try:
            file = pq.ParquetFile(run / f"{name}.parquet")
            if name == "training_runs":
                versions = file.read(["model_version"])["model_version"].unique().to_pylist()
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{name} of {run} cannot be read, and nothing was loaded: {first_line(error)}. "
                "A file cut short: embed again"
            ) from None
        batches = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(65_536))
        tables[name] = NewRows(file.metadata.num_rows, batches, versions)
    return tables


def newest_versions(loaded: str, keep: int) -> str:
    """A query for the `keep` versions of the table `loaded` that were embedded last, newest first.

    The same order as in macros/newest_model_version.sql and in tasks/representations.py.
    """
    return (
        f"select model_version from {loaded} group by model_version "
        f"order by max(embedded_at) desc, model_version desc limit {keep}"
    )


def prunings(project: DbtProject, keep: int) -> dict[str, str]:
    """What to run, in this order, to keep the `keep` newest versions and nobody who is no customer any more."""
    customers = project.source("customer_embeddings")
    items, controls = project.source("item_embeddings"), project.source("control_embeddings")
    old = f"model_version not in (select model_version from ({newest_versions(customers, keep)}) as kept)"
    # Joined and not `not in`: Postgres would search the customers once for each row.
    gone = (
        f"select embedded.customer_id from {customers} as embedded left join "
        f"(select distinct customer_id from {project.relation('customer_cutoffs')}) as known "
        "on embedded.customer_id = known.customer_id where known.customer_id is null"
    )
    return {
        "item_embeddings": f"delete from {items} where {old}",
        "control_embeddings": f"delete from {controls} where {old} or customer_id in ({gone})",
        "customer_embeddings": f"delete from {customers} where {old} or customer_id in ({gone})",
    }


def of_scores(tables: dict[str, pa.Table]) -> dict[str, NewRows]:
    return {name: NewRows(len(table), table.to_reader(65_536)) for name, table in tables.items()}


def of_evaluations(evaluations: pa.Table, model_version: str) -> dict[str, NewRows]:
    """The rows of model_evaluations, which replace those of that model only."""
    return {"model_evaluations": NewRows(len(evaluations), evaluations.to_reader(), [model_version])}


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__

"""What is written: the trainer's files and the tables of scores, as streams of Arrow batches, a table each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from caspr_train.errors import DataError

RUN_TABLES = ("customer_embeddings", "item_embeddings", "training_runs")
SCORE_TABLES = ("churn_scores", "churn_performance", "lifetime_value_scores", "lifetime_value_performance")


@dataclass
class NewRows:
    """The rows that replace those of a table: all of them or, with `versions`, only those of these model versions."""

    rows: int
    batches: pa.RecordBatchReader
    versions: list[str] | None = None


def of_run(run: Path) -> dict[str, NewRows]:
    """The files of a run's folder. Of the vectors only the newest version stays, of training_runs a row a version.

    DataError: a file is no Parquet.
    """
    tables = {}
    for name in RUN_TABLES:
        try:
            file = pq.ParquetFile(run / f"{name}.parquet")
            versions = None
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


def of_scores(tables: dict[str, pa.Table]) -> dict[str, NewRows]:
    return {name: NewRows(len(table), table.to_reader(65_536)) for name, table in tables.items()}


def first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__

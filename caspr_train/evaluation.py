"""`caspr_train evaluate`: the table of model_performance over several seeds, each with a training of its own."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from caspr_train.scoring import TASKS, answers, arrow_table
from caspr_train.tasks import protocol, recommendation
from caspr_train.tasks.frames import Read
from caspr_train.tasks.performance import PERFORMANCE_TYPES, performance
from caspr_train.warehouse import Reader

FINETUNED = "finetuned"  # the learner of a fine-tuned encoder's row
OF_A_RUN = ("customer_embeddings", "control_embeddings", "item_embeddings")


def reading(reader: Reader, run: Path) -> Read:
    """Reads the vectors of the run's folder and the marts of the warehouse."""

    def read(name: str, condition: str = "") -> pd.DataFrame:
        if name not in OF_A_RUN:
            return reader.mart(name, condition).to_pandas()
        with duckdb.connect() as connection:
            vectors = connection.read_parquet(str(run / f"{name}.parquet"))
            return (vectors.filter(condition) if condition else vectors).df()

    return read


def evaluate_seed(reader: Reader, run: Path, seed: int) -> dict[str, pd.DataFrame]:
    """{task: what its evaluate gives}, with the vectors of the run's folder and the marts of the warehouse."""
    read = reading(reader, run)
    frames = {task.name: protocol.evaluate(read, task, seed) for task in TASKS}
    return {**frames, recommendation.NAME: recommendation.evaluate(read, seed)}


def summary(
    evaluations: list[dict[str, pd.DataFrame]], model_version: str, asked: dict[str, str], known: pd.DataFrame
) -> pa.Table:
    """The rows of model_evaluations after this: every task's performance over all seeds, under the name of the first
    model, and what else is `known` of that model: what `finetune` measured, and from when a task asked something else
    than `asked`."""

    def over_seeds(task: str) -> pd.DataFrame:
        parts = [evaluation[task] for evaluation in evaluations if len(evaluation[task])]
        return pd.concat(parts) if parts else evaluations[0][task]

    measured = [performance(over_seeds(task.name), task) for task in TASKS]
    measured.append(recommendation.performance(over_seeds(recommendation.NAME)))
    rows = pd.concat(measured, ignore_index=True)
    rows = rows.assign(model_version=model_version, settings_hash=rows["task"].map(asked))
    others = known[~answers(known, asked) | (known["learner"] == FINETUNED)]
    return evaluations_table(rows, others)


def measured_now(table: pa.Table, asked: dict[str, str]) -> pd.DataFrame:
    """The rows of model_evaluations that say something of what is `asked`."""
    rows = table.to_pandas()
    return rows[answers(rows, asked)]


def evaluations_table(*parts: pd.DataFrame) -> pa.Table:
    """Rows of model_evaluations, one part below the other, with its columns and types."""
    rows = pd.concat([part for part in parts if len(part)] or parts[-1:], ignore_index=True)
    return arrow_table(rows.astype(PERFORMANCE_TYPES)[[*PERFORMANCE_TYPES, "model_version", "settings_hash"]])

"""`caspr_train evaluate`: the table of model_performance over several seeds, each with a training of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api.types import union_categoricals

from caspr_train.errors import DataError
from caspr_train.files import whole
from caspr_train.scoring import TASKS, answers, arrow_table
from caspr_train.tasks import protocol, recommendation
from caspr_train.tasks.frames import Read
from caspr_train.tasks.performance import PERFORMANCE_TYPES, performance
from caspr_train.warehouse import Reader

FINETUNED = "finetuned"  # the learner of a fine-tuned encoder's row
OF_A_RUN = ("customer_embeddings", "control_embeddings", "item_embeddings")
# What measuring reads of the marts: whole, of some cutoffs, and of some cutoffs and customers.
WHOLE = ("cutoffs", "customer_counts", "label_counts", "task_settings")
OF_CUTOFFS = ("item_popularity",)
LABELS = (*(task.labels for task in TASKS), "purchase_labels")
OF_CUSTOMERS = (
    "customer_cutoffs",
    "rfm_features",
    "rfm_scores",
    "customer_profiles",
    "content_features",
    "purchase_history",
    *LABELS,
)
KEPT = "model_evaluations.parquet"


def copy_marts(reader: Reader, folder: Path) -> None:
    """Copy what measuring reads into `folder`, a Parquet file each, of the customers who take part (tasks.sample).

    All seeds are then measured on the same rows, whatever dbt builds meanwhile, and no database is held while learners
    are fitted. DataError: no label is known at any evaluate cutoff, so nothing could be measured.
    """
    folder.mkdir(parents=True)
    cutoffs, counts = reader.mart("cutoffs").to_pandas(), reader.mart("customer_counts").to_pandas()
    measured = list(cutoffs.loc[cutoffs["role"] != "score", "cutoff_at"])
    of_cutoffs = protocol.at_cutoffs(measured) if measured else "1 = 0"
    largest = max(counts.loc[counts["cutoff_at"].isin(measured), "customers"], default=0)
    of_customers = " and ".join(filter(None, (of_cutoffs, reader.taking_part(measured, int(largest)))))
    for names, condition in ((WHOLE, ""), (OF_CUTOFFS, of_cutoffs), (OF_CUSTOMERS, of_customers)):
        for name in names:
            reader.copy(name, condition, folder / f"{name}.parquet")
    asked = set(cutoffs.loc[cutoffs["role"] == "evaluate", "cutoff_at"])
    if not any(asked & set(_instants(folder / f"{name}.parquet")) for name in LABELS):
        at = ", ".join(map(str, sorted(asked))) or "there is none"
        raise DataError(
            f"{reader.where}: no labels are known at an evaluate cutoff ({at}); expected some to measure with: do "
            "horizon_days and as_of suit this data?"
        )


def keep_vectors(run: Path, folder: Path, measured: Path) -> None:
    """Keep the run's vectors in `folder` as they are now, whatever embeds again meanwhile.

    DataError: there are none at a train or evaluate cutoff that has customers in the marts copied to `measured`.
    """
    folder.mkdir(parents=True)
    for name in OF_A_RUN:
        try:
            os.link(run / f"{name}.parquet", folder / f"{name}.parquet")  # a new file takes its name, not its place
        except OSError:
            shutil.copy(run / f"{name}.parquet", folder / f"{name}.parquet")
    counts, cutoffs = (
        pq.read_table(measured / f"{name}.parquet").to_pandas() for name in ("customer_counts", "cutoffs")
    )
    asked = set(cutoffs.loc[cutoffs["role"] != "score", "cutoff_at"]) & set(counts["cutoff_at"])
    without = asked - set(_instants(folder / "customer_embeddings.parquet"))
    if without:
        raise DataError(
            f"{run} has no vectors at the cutoff {min(without)}, and the marts have customers there: they were built "
            f"again since. Run `python -m caspr_train embed --bundle {run / 'bundle'}` (or train anew), then this again"
        )


def reading(measured: Path, vectors: Path) -> Read:
    """Reads the marts of `copy_marts` and the vectors of `keep_vectors`."""

    def read(name: str, condition: str = "") -> pd.DataFrame:
        of_run = name in OF_A_RUN
        with duckdb.connect() as connection:
            rows = connection.read_parquet(str((vectors if of_run else measured) / f"{name}.parquet"))
            rows = rows.filter(condition) if condition else rows
            return rows.df() if of_run else rows.to_arrow_table().to_pandas()

    return read


def measure(reads: Mapping[int, Read]) -> pd.DataFrame:
    """The performance of every task over all seeds: {seed: what reads the marts and the vectors of its training}.

    A task after the other, so that the scores of one alone are in memory.
    """
    measured = [
        performance(_stacked([protocol.evaluate(read, task, seed) for seed, read in reads.items()]), task)
        for task in TASKS
    ]
    parts = [recommendation.evaluate(read, seed) for seed, read in reads.items()]
    measured.append(recommendation.performance(_stacked(parts)))
    return pd.concat(measured, ignore_index=True)


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Evaluations, one below the other; the texts that many rows share are held once."""
    parts = [part for part in parts if len(part)] or parts[:1]
    shared = {
        name: union_categoricals([part[name].astype("category") for part in parts], sort_categories=True)
        for name in ("learner", "representation", "note")
    }
    stacked = pd.concat([part.drop(columns=list(shared)) for part in parts], ignore_index=True)
    return stacked.assign(**shared)


def evaluations(measured: pd.DataFrame, model_version: str, asked: dict[str, str], before: pd.DataFrame) -> pa.Table:
    """The rows of model_evaluations after `measure`, under the name of the first model, and what else was known of that
    model `before`: what `finetune` measured, and from when a task asked something else than `asked`."""
    rows = measured.assign(model_version=model_version, settings_hash=measured["task"].map(asked))
    others = before[~answers(before, asked) | (before["learner"] == FINETUNED)]
    return evaluations_table(rows, others)


def measured_now(table: pa.Table, asked: dict[str, str]) -> pd.DataFrame:
    """The rows of model_evaluations that say something of what is `asked`."""
    rows = table.to_pandas()
    return rows[answers(rows, asked)]


def evaluations_table(*parts: pd.DataFrame) -> pa.Table:
    """Rows of model_evaluations, one part below the other, with its columns and types."""
    rows = pd.concat([part for part in parts if len(part)] or parts[-1:], ignore_index=True)
    return arrow_table(rows.astype(PERFORMANCE_TYPES)[[*PERFORMANCE_TYPES, "model_version", "settings_hash"]])


def merged(ours: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Our rows of model_evaluations, and those of the others that say something of another question: of another task,
    under other settings, or of a fine-tuned encoder where ours are of none."""
    mine, theirs = (
        pd.MultiIndex.from_arrays([rows["task"], rows["settings_hash"], rows["learner"] == FINETUNED])
        for rows in (ours, others)
    )
    return evaluations_table(ours, others[~theirs.isin(mine)]).to_pandas()


def known(run: Path, model_version: str, loaded: pd.DataFrame) -> pd.DataFrame:
    """What was measured with the model before: what the run's folder keeps, and what is `loaded` beside it."""
    loaded, mine = loaded[loaded["model_version"] == model_version], kept(run)
    return loaded if mine is None else merged(mine.to_pandas(), loaded)


def keep(table: pa.Table, run: Path) -> None:
    """Keep the rows of model_evaluations in the run's folder: a locked database then costs nothing."""
    with whole(run / KEPT) as draft:
        pq.write_table(table, draft)


def kept(run: Path) -> pa.Table | None:
    """What `keep` wrote there last."""
    return pq.read_table(run / KEPT) if (run / KEPT).is_file() else None


def _instants(file: Path) -> list[pd.Timestamp]:
    """The cutoffs of which the file has rows."""
    with duckdb.connect() as connection:
        return list(connection.read_parquet(str(file)).unique("cutoff_at").df()["cutoff_at"])

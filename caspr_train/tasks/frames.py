"""What a Python model is handed, as pandas: each warehouse has a frame of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from caspr_train.errors import DataError

# (name of a mart, a condition in SQL or an empty text) -> its rows, with column names in lower case
Read = Callable[[str, str], pd.DataFrame]


def reader(**relations: Any) -> Read:
    """Reads marts by name from what `dbt.ref` gave: DuckDB relations, or frames of Snowpark or PySpark.

    Only the rows that satisfy the condition leave the warehouse.
    """

    def read(name: str, condition: str = "") -> pd.DataFrame:
        relation = relations[name]
        return to_pandas(relation.filter(condition) if condition else relation)

    return read


def to_pandas(relation: Any) -> pd.DataFrame:
    """The rows of a DuckDB relation or of a Snowpark, BigQuery or PySpark frame, with column names in lower case."""
    for method in ("df", "to_pandas", "toPandas"):
        if callable(getattr(relation, method, None)):
            frame = getattr(relation, method)()
            return frame.rename(columns=str.lower)  # Snowflake's names are in upper case
    raise TypeError(f"{type(relation).__name__} is no frame of DuckDB, Snowpark, BigQuery or PySpark")


def task_cutoffs(read: Read, task: str) -> pd.DataFrame:
    """The mart `cutoffs` in time order, with the task's own horizon_ends_at and has_labels, as macros/task_cutoffs.sql.

    Those of the mart are of the longest horizon of all tasks.
    """
    cutoffs, settings = read("cutoffs", ""), read("task_settings", "")
    instants = {name: pd.to_datetime(cutoffs[name]).astype("datetime64[us]") for name in ("cutoff_at", "as_of")}
    days = settings.loc[settings["task"] == task, "horizon_days"].max()
    ends_at = instants["cutoff_at"] + pd.to_timedelta(days, unit="D")
    known = {"horizon_ends_at": ends_at, "has_labels": ends_at <= instants["as_of"]}
    return cutoffs.assign(**instants, **known).sort_values("cutoff_at", ignore_index=True)


def champion(read: Read, task: str) -> pd.Series | None:
    """The task's row of model_leaderboard; None while nothing was measured. DataError: there are several."""
    board = read("model_leaderboard", "")
    mine = board[board["task"] == task]
    if len(mine) > 1:
        raise DataError(
            f"model_leaderboard: {len(mine)} champions of {task}, expected one; build model_performance and "
            "model_leaderboard again, with this version of the package"
        )
    return mine.iloc[0] if len(mine) else None

"""What a Python model is handed, as pandas: each warehouse has a frame of its own."""

from __future__ import annotations

from typing import Any

import pandas as pd


def to_pandas(relation: Any) -> pd.DataFrame:
    """The rows of a DuckDB relation or of a Snowpark, BigQuery or PySpark frame, with column names in lower case."""
    for method in ("df", "to_pandas", "toPandas"):
        if callable(getattr(relation, method, None)):
            frame = getattr(relation, method)()
            return frame.rename(columns=str.lower)  # Snowflake's names are in upper case
    raise TypeError(f"{type(relation).__name__} is no frame of DuckDB, Snowpark, BigQuery or PySpark")

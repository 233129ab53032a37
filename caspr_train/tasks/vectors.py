"""Columns of vectors as matrices."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from caspr_train.errors import DataError
from caspr_train.tasks.frames import Read


def stack(vectors: pd.Series, name: str) -> np.ndarray:
    """[n, width] float32 of a column of arrays without missing ones; a null inside an array becomes NaN.

    Raises DataError where they differ in width; `name` says which table they are of.
    """
    widths = sorted(set(map(len, vectors)))
    if len(widths) > 1:
        raise DataError(
            f"{name}: widths {widths[0]} and {widths[1]} within one model_version, expected one width; "
            "embed again with `caspr_train embed`"
        )
    # DuckDB gives a masked array for a list that holds a null; filling it turns the mask into NaN.
    filled = [
        np.ma.filled(one.astype(np.float32), np.nan) if isinstance(one, np.ma.MaskedArray) else one for one in vectors
    ]
    return np.stack(filled).astype(np.float32)


def at_score_cutoffs(read: Read) -> Iterator[tuple[pd.Timestamp, np.ndarray, np.ndarray]]:
    """For each score cutoff with vectors: it, customer_id [n] (sorted text) and the vectors [n, width] float32.

    `read` knows the marts `cutoffs` and `customer_embeddings`. A vector that is not finite in all its places is none.
    """
    cutoffs = read("cutoffs", "role = 'score'")
    for cutoff_at in sorted(pd.to_datetime(cutoffs["cutoff_at"])):
        rows = read("customer_embeddings", is_at(cutoff_at))
        rows = rows[rows["embedding"].notna()]
        if rows.empty:
            continue
        customers = rows["customer_id"].to_numpy(object)
        vectors = stack(rows["embedding"], "customer_embeddings")
        is_finite = np.isfinite(vectors).all(axis=1)
        order = np.flatnonzero(is_finite)[np.argsort(customers[is_finite])]
        if len(order):
            yield cutoff_at, customers[order], vectors[order]


def is_at(cutoff_at: pd.Timestamp) -> str:
    """The condition on `cutoff_at` in SQL."""
    return f"cutoff_at = cast('{cutoff_at}' as timestamp)"

"""The customer vectors of a score cutoff as a matrix: what segments and neighbours are made of."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from caspr_train.tasks.frames import Read


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
        # DuckDB gives a masked array for a list that holds a null; filling it turns the mask into NaN.
        filled = [np.ma.filled(np.ma.asarray(vector, dtype=np.float32), np.nan) for vector in rows["embedding"]]
        vectors = np.stack(filled)
        is_finite = np.isfinite(vectors).all(axis=1)
        order = np.flatnonzero(is_finite)[np.argsort(customers[is_finite])]
        if len(order):
            yield cutoff_at, customers[order], vectors[order]


def is_at(cutoff_at: pd.Timestamp) -> str:
    """The condition on `cutoff_at` in SQL."""
    return f"cutoff_at = cast('{cutoff_at}' as timestamp)"

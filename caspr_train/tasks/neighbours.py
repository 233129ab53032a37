"""Who is like whom: for each customer those whose vectors point in the most similar direction.

Each customer is compared with about `COMPARED` others. Up to so many customers these are all. Beyond, customers are
divided into cells by k-means, and those of a cell are compared with the customers of the cells around it (an inverted
file, as in Sivic and Zisserman, 2003): some true neighbours are missed, see docs/PERFORMANCE.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from caspr_train.tasks import blas, ranking, vectors
from caspr_train.tasks.frames import Read

NEIGHBOURS = 10
COMPARED = 20_000
# Cosines in memory at a time: 128 MB.
BLOCK = 1 << 25
CHUNK_ROWS = 65_536
SEED = 20_210

NEIGHBOUR_TYPES = {
    "customer_id": "string",
    "cutoff_at": "datetime64[us]",
    "similarity_rank": "int64",
    "similar_customer_id": "string",
    "cosine": "float64",
}


def similar(read: Read) -> pd.DataFrame:
    """customer_id, cutoff_at, similarity_rank (1 = most alike), similar_customer_id, cosine; at each score cutoff.

    `read` knows `cutoffs` and `customer_embeddings`. Who has no vector, or one of zeros, is like nobody.
    """
    parts = []
    for cutoff_at, customers, embedding in vectors.at_score_cutoffs(read):
        length = np.linalg.norm(embedding, axis=1, keepdims=True)
        has_direction = length[:, 0] > 0
        customers, unit = customers[has_direction], embedding[has_direction] / length[has_direction]
        neighbour, cosine = nearest(unit)
        owner, place = np.nonzero(neighbour >= 0)
        parts.append(
            pd.DataFrame(
                {
                    "customer_id": customers[owner],
                    "cutoff_at": cutoff_at,
                    "similarity_rank": place + 1,
                    "similar_customer_id": customers[neighbour[owner, place]],
                    "cosine": cosine[owner, place],
                }
            )
        )
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in NEIGHBOUR_TYPES.items()})
    return pd.concat(parts, ignore_index=True).astype(NEIGHBOUR_TYPES)


def nearest(unit: np.ndarray, compared: int = COMPARED) -> tuple[np.ndarray, np.ndarray]:
    """The places [n, NEIGHBOURS] of the nearest others of each unit vector [n, width], and their cosines.

    Nearest first; -1 and NaN where there are not so many. Cosines are rounded to six decimals, and equal ones stand in
    the order of the rows.
    """
    neighbour = np.full((len(unit), NEIGHBOURS), -1, dtype=np.int64)
    cosine = np.full((len(unit), NEIGHBOURS), np.nan)
    for members, candidates in _cells(unit, compared):
        step = max(1, BLOCK // len(candidates))
        for start in range(0, len(members), step):
            rows = members[start : start + step]
            with blas.one_thread():
                block = unit[rows] @ unit[candidates].T
            block[np.arange(len(rows)), np.searchsorted(candidates, rows)] = -np.inf  # nobody beside themselves
            row, place, value = _highest(block, min(NEIGHBOURS, len(candidates) - 1))
            rank = np.arange(len(row)) - np.searchsorted(row, row)
            neighbour[rows[row], rank] = candidates[place]
            cosine[rows[row], rank] = value
    return neighbour, cosine


def _highest(block: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and rounded value of the `most` highest of each row, by row, the highest first."""
    # The limit and then a comparison: half the time of np.argpartition, and of equals at the limit the first are there.
    limit = np.partition(block, -most, axis=1)[:, -most, None]
    row, column = np.nonzero(ranking.at_least(block, limit, most))
    value = np.round(block[row, column].astype(np.float64), 6)
    order = np.lexsort((column, -value, row))
    row, column, value = row[order], column[order], value[order]
    kept = np.arange(len(row)) - np.searchsorted(row, row) < most
    return row[kept], column[kept], value[kept]


def _cells(unit: np.ndarray, compared: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows that are compared with the same candidates, and these, both ascending; every row is in one of them."""
    everybody = np.arange(len(unit))
    if len(unit) <= compared:
        if len(unit) > 1:
            yield everybody, everybody
        return
    count = round(len(unit) ** 0.5)
    drawn = np.random.default_rng(SEED).choice(len(unit), min(len(unit), 50 * count), replace=False)
    # Threads of OpenMP, which are each caller's own, add up in the order in which they finish.
    with blas.one_thread(), threadpool_limits(1, "openmp"):
        kmeans = MiniBatchKMeans(count, batch_size=4096, n_init=1, random_state=SEED).fit(unit[drawn])
        starts = range(0, len(unit), CHUNK_ROWS)
        cell = np.concatenate([kmeans.predict(unit[start : start + CHUNK_ROWS]) for start in starts])
    order = np.argsort(cell, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(cell, minlength=count))[:-1])
    centres = kmeans.cluster_centers_
    squared = np.square(centres).sum(axis=1) - 2 * centres @ centres.T
    np.fill_diagonal(squared, -np.inf)  # the own cell is among them though many centres be the same
    for own, near in zip(members, np.argsort(squared, axis=1, kind="stable"), strict=True):
        if len(own):
            candidates = np.concatenate([members[other] for other in near[: round(compared / count)]])
            yield own, np.sort(candidates)

"""All items ranked for a customer: the first of them, and how well the ranks of what was then bought are measured.

Of equal scores the smaller column comes first; columns are in the order of popularity. An item that must not be
recommended has the score -inf.
"""

from __future__ import annotations

import numpy as np

from caspr_train.tasks.purchases import Customers

METRICS = ("map", "precision_1", "hits_5", "hit_rate_5", "ndcg_3", "ndcg_10")


def close(scores: np.ndarray, customers: Customers) -> np.ndarray:
    """The scores [n, m], with -inf where an item must not be recommended; changed in place."""
    rows = np.repeat(np.arange(len(customers)), np.diff(customers.is_closed.indptr))
    scores[rows, customers.is_closed.indices] = -np.inf
    return scores


def top(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` items of each row of the scores [n, m]: rows [k] and columns [k], best first within a row."""
    if not scores.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    count = min(count, scores.shape[1])
    least = np.partition(scores, scores.shape[1] - count, axis=1)[:, -count, None]
    # With ties at the end of the list there are more than `count`: they are cut off once all are in order.
    rows, columns = np.nonzero(at_least(scores, least, count) & (scores > -np.inf))
    order = np.lexsort((columns, -scores[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return rows[place < count], columns[place < count]


def at_least(values: np.ndarray, least: np.ndarray, count: int) -> np.ndarray:
    """[n, m] bool: where values [n, m] are above `least` [n, 1], and the first `count` of those equal to it.

    All that are equal may be all there are: the items of a customer of whom nothing is known.
    """
    chosen = values >= least
    if np.count_nonzero(chosen) > 2 * count * len(values):
        is_equal = values == least
        chosen &= ~is_equal | (np.cumsum(is_equal, axis=1, dtype=np.int32) <= count)
    return chosen


def ranks(scores: np.ndarray, rows: np.ndarray, columns: np.ndarray, within: int | None = None) -> np.ndarray:
    """[k] float64: the ranks, from 1, of the items at these places; infinite where the column is -1, no known item.

    With `within` only the first so many are told apart, which is quicker: all others are infinite.
    """
    result = np.full(len(rows), np.inf)
    asked = np.flatnonzero(columns >= 0)
    if within is not None and within < scores.shape[1]:
        least = np.partition(scores, scores.shape[1] - within, axis=1)[:, -within]
        asked = asked[scores[rows[asked], columns[asked]] >= least[rows[asked]]]
    for place in asked:
        line, column = scores[rows[place]], columns[place]
        mine = line[column]
        result[place] = 1 + np.count_nonzero(line > mine) + np.count_nonzero(line[:column] == mine)
    if within is not None:
        result[result > within] = np.inf
    return result


def basket(rank: np.ndarray, rows: np.ndarray, customers: int) -> np.ndarray:
    """[customers, METRICS] of next-basket-in-horizon: `rank` [k] of everything that customer `rows` [k] then bought.

    `rows` is sorted and holds every customer. Table 7 of the paper: MAP, precision at 1, hits in the top 5 (its
    "Success@5" of 1.46 can only be this mean number), the share of customers with such a hit, NDCG at 3 and 10. What
    was bought and is no known item counts as never found.
    """
    order = np.lexsort((rank, rows))
    rank = rank[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    bought = np.bincount(rows, minlength=customers)

    def per_customer(values: np.ndarray) -> np.ndarray:
        return np.bincount(rows, values, minlength=customers)

    hits = per_customer(rank <= 5)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, 12)))])
    gains = [per_customer(_gain(rank, k)) / ideal[np.minimum(bought, k)] for k in (3, 10)]
    columns = [per_customer((place + 1) / rank) / bought, per_customer(rank == 1), hits, hits > 0, *gains]
    return np.stack(columns, axis=1).astype(np.float64)


def next_item(rank: np.ndarray, rows: np.ndarray, customers: int) -> np.ndarray:
    """[customers, METRICS] of leave-one-out: `rank` [k] of what customer `rows` [k] bought next.

    Each item is asked for by itself; several of one instant are the next with equal right, and their mean counts.
    """
    columns = [1 / rank, rank == 1, rank <= 5, rank <= 5, _gain(rank, 3), _gain(rank, 10)]
    bought = np.bincount(rows, minlength=customers)
    return np.stack([np.bincount(rows, column, minlength=customers) / bought for column in columns], axis=1)


def _gain(rank: np.ndarray, k: int) -> np.ndarray:
    return np.where(rank <= k, 1 / np.log2(1 + rank), 0.0)

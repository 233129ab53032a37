"""Recommenders: each is a function Customers [n] -> scores [n, m] float32 of all items, and the higher the better.

A score depends on the customer's own row alone, so customers can be scored in pieces of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy import sparse

from caspr_train.tasks import blas
from caspr_train.tasks.learners import worker_threads
from caspr_train.tasks.purchases import Customers, Items

Scores = Callable[[Customers], np.ndarray]

# Scores in memory at once: 16 MiB, and a few times as much for what they are made from.
MOST_SCORES = 2**22
# Scores from which the usual one of an item is found.
MOST_USUAL = 2**26
FACTORS, ITERATIONS, SEED = 64, 15, 20_210

# What is tried at the train cutoff; the first is taken where nothing can be tried.
_BLENDS = tuple({"own": own, "half_life": days} for own in (0.6, 0.2, 0.4, 0.8) for days in (180, 720, None))
_CASPR_BLENDS = tuple(
    {"own": own, "half_life": days, "certainty": certainty}
    for own in (0.6, 0.2, 0.4, 0.8)
    for days in (180, None)
    for certainty in (0.5, 1.0)
)
_ALS = ({"alpha": 1, "regularization": 10}, {"alpha": 1, "regularization": 0.1}, {"alpha": 10, "regularization": 0.1})

# The simplest first: a later one is used only if it is significantly better.
CANDIDATES: dict[str, tuple[dict[str, Any], ...]] = {
    "popularity": ({},),
    "personal_frequency": ({},),
    "frequency_popularity": _BLENDS,
    "als": _ALS,
    "caspr": ({},),
    "frequency_caspr": _CASPR_BLENDS,
    "als_caspr": _ALS,  # chosen for als
}
NEED_VECTORS = ("caspr", "frequency_caspr", "als_caspr")


def fit(name: str, setting: dict[str, Any], items: Items, customers: Customers) -> Scores:
    """The recommender `name` of CANDIDATES; ALS learns its factors from `customers`, the others from nobody."""
    if name == "popularity":
        return lambda some: np.tile(items.share, (len(some), 1))
    if name == "personal_frequency":
        return lambda some: personal_frequency(items, some)
    if name == "caspr":
        return lambda some: chances(items, some)
    if name == "frequency_popularity":
        return lambda some: blend(np.tile(items.share, (len(some), 1)), some, **setting)
    if name == "frequency_caspr":
        certainty, weights = setting["certainty"], {key: setting[key] for key in ("own", "half_life")}
        usual = usual_chances(items, customers)
        return lambda some: blend(lifted(items, some, usual, certainty), some, **weights)
    if name == "als":
        return als(lambda some: some.times, customers, **setting)
    if name == "als_caspr":
        return als(lambda some: confidences(items, some), customers, **setting)
    raise ValueError(f"candidate: found {name!r}, expected one of {tuple(CANDIDATES)}")


def personal_frequency(items: Items, customers: Customers) -> np.ndarray:
    """What the customer bought most often, of equal ones what was bought last; then all other items by popularity."""
    scores = np.tile(items.share, (len(customers), 1))  # below 1; what was bought lies above
    times, days = customers.times, customers.days
    rows = np.repeat(np.arange(len(customers)), np.diff(times.indptr))
    order = np.lexsort((times.indices, days.data, -times.data, rows))
    place = np.arange(len(rows)) - times.indptr[rows]
    scores[rows[order], times.indices[order]] = 2 - place / times.shape[1]
    return scores


def chances(items: Items, customers: Customers) -> np.ndarray:
    """How likely each item is the next: the softmax of the dot products of customer and item vectors, plus bias.

    Items without a vector keep their share of the purchases of late, and customers without one get these shares alone.
    """
    result = np.tile(items.share, (len(customers), 1))
    has_vector = np.isfinite(customers.vectors).all(axis=1)
    if items.has_vector.any() and has_vector.any():
        known = items.has_vector
        with blas.one_thread():
            logits = customers.vectors[has_vector] @ items.vectors[known].T + items.bias[known]
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits *= items.share[known].sum() / logits.sum(axis=1, keepdims=True)
        result[np.ix_(has_vector, known)] = logits
    return result


def usual_chances(items: Items, customers: Customers) -> np.ndarray:
    """[m] float32: the mean of `chances` over customers, of evenly chosen ones where the items are very many."""
    count = min(len(customers), max(1, MOST_USUAL // max(1, len(items.names))))
    some = customers[np.unique(np.linspace(0, len(customers) - 1, count).astype(np.int64))] if count else customers
    total = np.zeros(len(items.names))
    for piece in pieces(some):
        total += chances(items, some[piece]).sum(axis=0, dtype=np.float64)
    return (total / max(1, len(some))).astype(np.float32)


def lifted(items: Items, customers: Customers, usual: np.ndarray, certainty: float) -> np.ndarray:
    """[n, m]: an item's share of the purchases of late x how much likelier than usual it is for the customer.

    The vectors may be those of other events than the purchases (orders with one leading item each), whose frequent
    items are not what is bought most; against what is usual this drops out. A certainty below 1 trusts them less.
    """
    result = chances(items, customers)
    result /= np.maximum(usual, np.finfo(np.float32).tiny)
    np.power(result, certainty, out=result)
    result *= items.share
    result /= result.sum(axis=1, keepdims=True)
    return result


def blend(others: np.ndarray, customers: Customers, own: float, half_life: float | None) -> np.ndarray:
    """own x what the customer's purchases say + (1 - own) x `others` [n, m], chances both.

    The customer's purchases of an item count half for every `half_life` days since the last of them.
    """
    weights = customers.times.data.astype(np.float64)
    if half_life is not None:
        weights *= 0.5 ** (customers.days.data / half_life)
    rows = np.repeat(np.arange(len(customers)), np.diff(customers.times.indptr))
    total = np.bincount(rows, weights, minlength=len(customers))
    scores = others * np.float32(1 - own)
    scores[rows, customers.times.indices] += (own * weights / total[rows]).astype(np.float32)
    return scores


def als(
    confidences: Callable[[Customers], sparse.csr_array], customers: Customers, alpha: float, regularization: float
) -> Scores:
    """Alternating least squares on implicit feedback (Hu, Koren and Volinsky 2008): confidence alpha x r in what was
    bought, 1 in all else.

    The items' factors are learnt from `customers`; a customer's own are solved for when it is scored.
    """
    if not customers.times.nnz:
        return lambda some: np.zeros(some.times.shape, np.float32)
    with blas.one_thread():  # its own threads and those of BLAS would wait for each other
        model = AlternatingLeastSquares(
            factors=FACTORS,
            alpha=alpha,
            regularization=regularization,
            iterations=ITERATIONS,
            random_state=SEED,
            use_gpu=False,
            num_threads=worker_threads(),
        )
        model.fit(sparse.csr_matrix(confidences(customers)), show_progress=False)

    def scores(some: Customers) -> np.ndarray:
        with blas.one_thread():
            factors = model.recalculate_user(np.arange(len(some)), sparse.csr_matrix(confidences(some)))
            return factors @ model.item_factors.T

    return scores


def confidences(items: Items, customers: Customers) -> sparse.csr_array:
    """[n, m]: the times an item was bought x its chance to be the next relative to the customer's other items.

    So the paper's dot products enter ALS: an item that the model expects again counts for more than one that is past.
    """
    result = customers.times.copy()
    for piece in pieces(customers):
        some = customers[piece]
        rows = np.repeat(np.arange(len(some)), np.diff(some.times.indptr))
        chance = chances(items, some)[rows, some.times.indices].astype(np.float64)
        mean = np.bincount(rows, chance, minlength=len(some)) / np.maximum(np.diff(some.times.indptr), 1)
        start = result.indptr[piece.start]
        mean = mean[rows]  # 0 where the model holds none of the customer's items for possible: all are as likely
        result.data[start : start + len(rows)] *= np.divide(chance, mean, out=np.ones_like(chance), where=mean > 0)
    return result


def pieces(customers: Customers) -> Iterator[slice]:
    """Slices of the customers whose scores fit into MOST_SCORES."""
    rows = max(1, MOST_SCORES // max(1, customers.times.shape[1]))
    for start in range(0, len(customers), rows):
        yield slice(start, min(start + rows, len(customers)))

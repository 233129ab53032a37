"""Recommendation: what each customer will buy within the horizon (section 6 of the paper, Table 7).

Nothing is fitted on what is measured: a recommender knows the purchases before its cutoff, and what it chooses by
(weights, see candidates.py) it chooses at an earlier cutoff, whose labels end by then. Every item that anybody had
bought is ranked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from caspr_train.tasks import candidates, ranking, sample
from caspr_train.tasks.candidates import CANDIDATES, NEED_VECTORS, Scores
from caspr_train.tasks.frames import Read, champion, task_cutoffs
from caspr_train.tasks.performance import INTERVAL, PERFORMANCE_TYPES, replicates
from caspr_train.tasks.purchases import Customers, Items, at, chunks, read_customers, read_items, without_activity
from caspr_train.tasks.representations import count_without_activity, normalise_key

NAME = "recommendation"
LEARNER = "ranking"
HEADLINE = "ndcg_10"
BASELINES = ("als", "personal_frequency")
# What is recommended by where nothing could be measured yet.
DEFAULT = "personal_frequency"
COUNT = 10  # recommendations a customer
# Weights are chosen on as many customers, fewer where items are very many.
TUNED_ON, TUNED_SCORES = 20_000, 2**28

# By the metrics of the basket in the horizon; of leave-one-out, hits_5 would be hit_rate_5 again.
METRICS = (*ranking.METRICS, *(f"next_{name}" for name in ranking.METRICS if name != "hits_5"))
EVALUATION_TYPES = {
    "customer_id": "string",
    "cutoff_at": "datetime64[us]",
    "seed": "int64",
    "learner": "string",
    "representation": "string",
    "is_control": "bool",
    **dict.fromkeys(METRICS, "float64"),
    "note": "string",
}
SCORE_TYPES = {
    "customer_id": "string",
    "cutoff_at": "datetime64[us]",
    "rank": "int64",
    "item": "string",
    "score": "float64",
    "reason": "string",
    "learner": "string",
    "representation": "string",
}


def evaluate(read: Read, seed: int = 1) -> pd.DataFrame:
    """Long: the keys, each of METRICS, and a note; one row a customer who bought within the horizon, and candidate.

    `read` gives the marts cutoffs, task_settings, customer_counts, customer_cutoffs, purchase_history, item_popularity,
    purchase_labels, customer_embeddings and item_embeddings. Marts without rows give an empty frame of the same types.
    """
    cutoffs = task_cutoffs(read, NAME)
    labelled = cutoffs[cutoffs["has_labels"]]
    parts = []
    for cutoff_at in cutoffs.loc[cutoffs["role"] == "evaluate", "cutoff_at"]:
        items, customers = _sampled(read, cutoff_at)
        bought = _bought(read, items, customers, cutoff_at)
        if not len(bought):
            continue
        settings = _settings(read, _earlier(labelled, cutoff_at), list(CANDIDATES))
        rows, places = np.unique(bought["row"], return_inverse=True)
        bought, measured = bought.assign(row=places), customers[rows]
        for name in _usable(items):
            scores = candidates.fit(name, settings[name], items, customers)
            parts.append(
                pd.DataFrame(_measure(scores, measured, bought), columns=list(METRICS)).assign(
                    customer_id=measured.ids,
                    cutoff_at=cutoff_at,
                    seed=seed,
                    learner=LEARNER,
                    representation=name,
                    is_control=False,
                    note=_note(name, settings[name], items, measured),
                )
            )
    return _typed(parts, EVALUATION_TYPES)


def performance(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Means over customers of `evaluate`'s metrics, of one seed or several; the columns are PERFORMANCE_TYPES.

    The note gives each candidate's difference to BASELINES with its 95 % interval (paired bootstrap over customers).
    The champion is the simplest candidate that no other beats significantly in HEADLINE at the newest evaluate cutoff.
    """
    rows: list[dict[str, Any]] = []
    for cutoff_at, at_cutoff in evaluation.groupby("cutoff_at"):
        rows += _at_cutoff(at_cutoff, cutoff_at, is_newest=cutoff_at == evaluation["cutoff_at"].max())
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in PERFORMANCE_TYPES.items()}
    )


def score(read: Read) -> pd.DataFrame:
    """COUNT recommendations for every customer at the score cutoff, by the champion of model_leaderboard.

    Customers without any activity get what is popular. `read` gives the marts of `evaluate`, model_leaderboard and
    customers_without_activity. A customer has fewer where fewer items may be recommended. The score tells the items of
    one customer apart, and not customers.
    """
    cutoffs = task_cutoffs(read, NAME)
    mine = champion(read, NAME)
    parts = []
    for cutoff_at in cutoffs.loc[cutoffs["role"] == "score", "cutoff_at"]:
        items, fitted = _sampled(read, cutoff_at)
        if not len(items.names):
            continue
        name = DEFAULT if mine is None or mine["representation"] not in _usable(items) else str(mine["representation"])
        names = ["als", name] if name == "als_caspr" else [name]
        setting = _settings(read, _earlier(cutoffs[cutoffs["has_labels"]], cutoff_at), names)[name]
        scores = candidates.fit(name, setting, items, fitted)
        for customers in chunks(read, items, cutoff_at, _customers(read)):
            parts += [
                _recommended(scores, name, items, customers[piece], cutoff_at) for piece in candidates.pieces(customers)
            ]
        popular = candidates.fit("popularity", {}, items, fitted)
        for customers in without_activity(read, items, cutoff_at, count_without_activity(read, cutoff_at)):
            for piece in candidates.pieces(customers):
                rows = _recommended(popular, "popularity", items, customers[piece], cutoff_at)
                parts.append(rows.assign(reason="popular; no activity before the cutoff"))
    return _typed(parts, SCORE_TYPES)


def _measure(scores: Scores, customers: Customers, bought: pd.DataFrame) -> np.ndarray:
    """[n, METRICS]; `bought`: row, column and is_next of what the customers bought, sorted by row."""
    rank, rows = _ranks(scores, customers, bought), bought["row"].to_numpy()
    is_next = bought["is_next"].to_numpy()
    following = ranking.next_item(rank[is_next], rows[is_next], len(customers))
    following = following[:, [name != "hits_5" for name in ranking.METRICS]]
    return np.concatenate([ranking.basket(rank, rows, len(customers)), following], axis=1)


def _ranks(scores: Scores, customers: Customers, bought: pd.DataFrame, within: int | None = None) -> np.ndarray:
    rows, columns = bought["row"].to_numpy(), bought["column"].to_numpy()
    parts = [np.zeros(0)]
    for piece in candidates.pieces(customers):
        some = customers[piece]
        mine = slice(*np.searchsorted(rows, (piece.start, piece.stop)))
        closed = ranking.close(scores(some), some)
        parts.append(ranking.ranks(closed, rows[mine] - piece.start, columns[mine], within))
    return np.concatenate(parts)


def _settings(read: Read, tuned_at: pd.Timestamp | None, names: list[str]) -> dict[str, dict[str, Any]]:
    """Each candidate's setting that had the highest NDCG at 10 at an earlier cutoff; the first one without such."""
    chosen = {name: settings[0] for name, settings in CANDIDATES.items() if name in names}
    if tuned_at is None:
        return chosen
    items, customers = _sampled(read, tuned_at, TUNED_ON)
    bought = _bought(read, items, customers, tuned_at, TUNED_ON)
    few = max(1, TUNED_SCORES // max(1, len(items.names)))
    rows = np.unique(bought["row"])
    rows = rows[np.argsort(sample.hashes(customers.ids[rows]), kind="stable")[:few]]
    rows.sort()
    bought = bought[bought["row"].isin(rows)]
    bought, measured = bought.assign(row=np.searchsorted(rows, bought["row"])), customers[rows]
    if not len(bought):
        return chosen
    for name in names:
        if name == "als_caspr" and "als" in names:
            chosen[name] = chosen["als"]  # so that the two differ by the confidences alone
        elif name in _usable(items) and len(CANDIDATES[name]) > 1:
            results = []
            for setting in CANDIDATES[name]:
                rank = _ranks(candidates.fit(name, setting, items, customers), measured, bought, within=10)
                measures = ranking.basket(rank, bought["row"].to_numpy(), len(measured))
                results.append(measures[:, ranking.METRICS.index(HEADLINE)].mean())
            chosen[name] = CANDIDATES[name][int(np.argmax(results))]
    return chosen


def _recommended(
    scores: Scores, name: str, items: Items, customers: Customers, cutoff_at: pd.Timestamp
) -> pd.DataFrame:
    scored = ranking.close(scores(customers), customers)
    rows, columns = ranking.top(scored, COUNT)
    return pd.DataFrame(
        {
            "customer_id": customers.ids[rows],
            "cutoff_at": cutoff_at,
            "rank": np.arange(len(rows)) - np.searchsorted(rows, rows) + 1,
            "item": items.names[columns],
            "score": scored[rows, columns],
            "reason": _reasons(name, items, customers, rows, columns),
            "learner": LEARNER,
            "representation": name,
        }
    )


def _reasons(name: str, items: Items, customers: Customers, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[k] in words, why these items are recommended to these customers."""
    times = np.asarray(customers.times[rows, columns]).ravel().astype(np.int64)
    has_bought = np.diff(customers.times.indptr) > 0
    if name in ("als", "als_caspr"):
        is_alike = has_bought[rows]
    elif name in NEED_VECTORS and customers.vectors.shape[1]:
        # An item that the model does not know stands where its popularity puts it.
        is_alike = np.isfinite(customers.vectors).all(axis=1)[rows] & items.has_vector[columns]
    else:
        is_alike = np.zeros(len(rows), bool)
    reasons = np.where(is_alike, "bought by customers alike", "popular").astype(object)
    reasons[~has_bought[rows] & ~is_alike] = "popular; this customer bought nothing yet"
    if name != "popularity":
        known = times > 0
        reasons[known] = ["bought once" if count == 1 else f"bought {count} times" for count in times[known]]
    return reasons


def _at_cutoff(evaluation: pd.DataFrame, cutoff_at: pd.Timestamp, is_newest: bool) -> list[dict[str, Any]]:
    groups = {
        key: group.sort_values("customer_id", ignore_index=True)
        for key, group in evaluation.groupby(["seed", "representation"])
    }
    seeds = sorted({seed for seed, _ in groups})
    names = [name for name in CANDIDATES if all((seed, name) in groups for seed in seeds)]
    customers = len(groups[seeds[0], names[0]])

    def mean(values: np.ndarray) -> Any:
        return lambda weights: float(values @ weights / weights.sum())

    statistics = [
        {(name, metric): mean(groups[seed, name][metric].to_numpy()) for name in names for metric in METRICS}
        for seed in seeds
    ]
    drawn = replicates(statistics, customers)
    by_seed = {key: np.array([one[key](np.ones(customers)) for one in statistics]) for key in drawn}
    value = {key: float(of_seeds.mean()) for key, of_seeds in by_seed.items()}
    champion = _champion(names, drawn)
    return [
        {
            **dict.fromkeys(PERFORMANCE_TYPES),
            "task": NAME,
            "learner": LEARNER,
            "representation": name,
            "cutoff_at": cutoff_at,
            "metric": metric,
            "value": value[name, metric],
            "standard_error": drawn[name, metric].std(ddof=1),
            "seeds": len(seeds),
            "seed_standard_error": by_seed[name, metric].std(ddof=1) / len(seeds) ** 0.5 if len(seeds) > 1 else np.nan,
            "is_headline": metric == HEADLINE,
            "is_champion": is_newest and name == champion,
            "customers": customers,
            "note": "; ".join(
                [_against(name, metric, value, drawn)] * (metric in (HEADLINE, "map"))
                + [note for note in groups[seeds[0], name]["note"].iloc[:1] if note]
            ),
        }
        for name in names
        for metric in METRICS
    ]


def _against(name: str, metric: str, value: dict, drawn: dict) -> str:
    texts = []
    for other in BASELINES:
        if other != name:
            low, high = np.percentile(drawn[name, metric] - drawn[other, metric], INTERVAL)
            texts.append(f"{value[name, metric] - value[other, metric]:+.4f} [{low:+.4f}, {high:+.4f}] to {other}")
    return f"{metric} {', '.join(texts)}"


def _champion(names: list[str], drawn: dict[tuple[str, str], np.ndarray]) -> str:
    for name in names:
        mine = drawn[name, HEADLINE]
        if not any(np.percentile(drawn[other, HEADLINE] - mine, INTERVAL[0]) > 0 for other in names):
            return name
    return ""


def _earlier(labelled: pd.DataFrame, cutoff_at: pd.Timestamp) -> pd.Timestamp | None:
    """The newest cutoff whose labels were known by this one."""
    ended = labelled.loc[labelled["horizon_ends_at"] <= cutoff_at, "cutoff_at"]
    return ended.max() if len(ended) else None


def _customers(read: Read) -> int:
    counts = read("customer_counts", "")["customers"]
    return int(counts.max()) if len(counts) else 0


def _sampled(read: Read, cutoff_at: pd.Timestamp, most: int = sample.MAXIMUM_CUSTOMERS) -> tuple[Items, Customers]:
    items = read_items(read, cutoff_at)
    return items, read_customers(read, items, cutoff_at, sample.sampled_in_sql(_customers(read), most))


def _bought(
    read: Read, items: Items, customers: Customers, cutoff_at: pd.Timestamp, most: int = sample.MAXIMUM_CUSTOMERS
) -> pd.DataFrame:
    """row, column (-1: an item that nobody had bought before), is_next; of those whom `_sampled` gave, by row."""
    here = " and ".join(filter(None, (at(cutoff_at), sample.sampled_in_sql(_customers(read), most))))
    labels = normalise_key(read("purchase_labels", here), "purchase_labels")
    first = pd.to_datetime(labels["first_purchased_at"])
    labels = labels.assign(
        row=customers.ids.get_indexer(labels["customer_id"]),
        column=items.names.get_indexer(labels["item"].astype("string")),
        first=first,
    )
    labels = labels[labels["row"] >= 0]
    is_closed = np.zeros(len(labels), bool)
    known = (labels["column"] >= 0).to_numpy()
    if known.any() and customers.is_closed.nnz:
        pairs = customers.is_closed[labels["row"].to_numpy()[known], labels["column"].to_numpy()[known]]
        is_closed[known] = np.asarray(pairs).ravel()
    labels = labels[~is_closed]
    is_next = labels["first"] == labels.groupby("row")["first"].transform("min")
    labels = labels.assign(is_next=is_next.astype(bool)).sort_values(["row", "column"], ignore_index=True)
    return labels[["row", "column", "is_next"]]


def _usable(items: Items) -> list[str]:
    return [name for name in CANDIDATES if name not in NEED_VECTORS or items.has_vector.any()]


def _note(name: str, setting: dict[str, Any], items: Items, customers: Customers) -> str:
    notes = []
    if setting:
        notes.append(", ".join(f"{key} {value}" for key, value in setting.items()))
    if name in NEED_VECTORS:
        notes.append(f"{items.has_vector.sum()} of {len(items.names)} items have a vector")
        without = int((~np.isfinite(customers.vectors).all(axis=1)).sum())
        if without:
            notes.append(f"{without} of {len(customers)} customers have no embedding")
    return "; ".join(notes)


def _typed(parts: list[pd.DataFrame], types: dict[str, str]) -> pd.DataFrame:
    """One frame whose types do not depend on whether it has rows: a database makes the same table of both."""
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})
    return pd.concat(parts, ignore_index=True)[list(types)].astype(types)

"""Segments: customers whose vectors lie together, and what tells each segment from everybody, in words.

k-means on the standardised customer vectors of the score cutoff. The count of segments is the one with the highest
silhouette. It is fitted on a sample that a hash of the key draws, and everybody gets the segment of the nearest centre.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from caspr_train.tasks import blas, sample, vectors
from caspr_train.tasks.frames import Read
from caspr_train.tasks.representations import KEYS, sort_by_key

MOST_SEGMENTS = 10
# A silhouette takes the distances of all pairs: this many customers say it to about 0.01 in some seconds.
COUNT_CUSTOMERS = 5_000
# A count that splits off a handful of odd customers has a high silhouette and says nothing of the others.
SMALLEST_SHARE = 0.01
# The share on either side of each dimension that is drawn in to where it begins.
OUTERMOST = 0.01
SEED = 20_210
CHUNK_ROWS = 65_536

MOST_DIFFERENCES = 5
# A fifth of a standard deviation is the least that is called an effect (Cohen).
SMALLEST_DIFFERENCE = 0.2
# Two features that correlate more than this say the same of a segment; the one that says less is left out.
SAME = 0.8

SEGMENT_TYPES = {
    "customer_id": "string",
    "cutoff_at": "datetime64[us]",
    "segment": "int64",
    "silhouette": "float64",
}
DIFFERENCE_TYPES = {
    "cutoff_at": "datetime64[us]",
    "segment": "int64",
    "difference_rank": "int64",
    "feature": "string",
    "segment_mean": "float64",
    "customer_mean": "float64",
    "standardised_difference": "float64",
    "description": "string",
}

CONTENT_WORDS = {
    "count": "number of activities with {of}",
    "share": "share of activities with {of}",
    "days_since_last": "days since the last activity with {of}",
    "distinct": "number of different values of {of}",
    "entropy": "variety (entropy) of {of}",
}


def segments(read: Read) -> pd.DataFrame:
    """customer_id, cutoff_at, segment and silhouette: one row a customer with a vector, at each score cutoff.

    `read` knows `cutoffs` and `customer_embeddings`. Segments are numbered from 1, the largest, by their size.
    silhouette: of the chosen count, from -1 to 1, the same in all rows of a cutoff; null where there is one segment.
    """
    parts = []
    for cutoff_at, customers, embedding in vectors.at_score_cutoffs(read):
        segment, silhouette = cluster(customers, embedding)
        columns = {"customer_id": customers, "cutoff_at": cutoff_at, "segment": segment, "silhouette": silhouette}
        parts.append(pd.DataFrame(columns))
    return _typed(parts, SEGMENT_TYPES)


def cluster(customers: np.ndarray, embedding: np.ndarray) -> tuple[np.ndarray, float]:
    """The segment [n] int64, from 1, of each vector [n, width], and the silhouette of the count of segments."""
    fitted = embedding[sample.is_sampled(customers, len(customers))]
    # A few vectors far out would be segments of their own and make one cloud of all others.
    low, high = np.quantile(fitted, [OUTERMOST, 1 - OUTERMOST], axis=0).astype(np.float32)
    fitted = np.clip(fitted, low, high)
    scaler = StandardScaler().fit(fitted)
    fitted = scaler.transform(fitted)
    counted = fitted[:: -(-len(fitted) // COUNT_CUSTOMERS)]
    # Threads of OpenMP, which are each caller's own, add up in the order in which they finish.
    with blas.one_thread(), threadpool_limits(1, "openmp"), config_context(working_memory=64):
        chosen, silhouette = _choose(counted)
        if chosen is None:
            return np.ones(len(embedding), dtype=np.int64), np.nan
        kmeans = KMeans(len(chosen), init=chosen, n_init=1, random_state=SEED).fit(fitted)
        starts = range(0, len(embedding), CHUNK_ROWS)
        chunks = (np.clip(embedding[start : start + CHUNK_ROWS], low, high) for start in starts)
        nearest = [kmeans.predict(scaler.transform(chunk)) for chunk in chunks]
    labels = np.concatenate(nearest)
    sizes = np.bincount(labels, minlength=len(chosen))
    number = np.empty(len(sizes), dtype=np.int64)
    number[np.argsort(-sizes, kind="stable")] = np.arange(1, len(sizes) + 1)
    return number[labels], silhouette


def _choose(x: np.ndarray) -> tuple[np.ndarray | None, float]:
    """The centres of the count with the highest silhouette, and that; None where there are not two to be told apart."""
    distinct = len(np.unique(x, axis=0))
    best: tuple[bool, float, np.ndarray | None] = (False, np.nan, None)
    for count in range(2, min(MOST_SEGMENTS, distinct, len(x) - 1) + 1):
        kmeans = KMeans(count, n_init=10, random_state=SEED).fit(x)
        is_large = bool(np.bincount(kmeans.labels_).min() >= SMALLEST_SHARE * len(x))
        silhouette = float(silhouette_score(x, kmeans.labels_))
        if best[2] is None or (is_large, silhouette) > best[:2]:
            best = is_large, silhouette, kmeans.cluster_centers_
    return best[2], best[1]


def differences(assigned: pd.DataFrame, read: Read) -> pd.DataFrame:
    """What tells each segment from everybody: the columns of DIFFERENCE_TYPES, by segment the largest difference first.

    assigned: what `segments` gave. `read` knows `rfm_features`, `content_features` and `attribute_values`.
    standardised_difference: the mean of the segment minus the mean of all customers, in standard deviations of these;
    a missing value stands at the mean, so that what only a few have weighs as much as they are.
    """
    assigned = sort_by_key(assigned, "segment_assignments")
    values = read("attribute_values", "")
    parts = []
    for cutoff_at, at in assigned.groupby("cutoff_at"):
        condition = " and ".join(filter(None, [vectors.is_at(cutoff_at), sample.sampled_in_sql(len(at))]))
        content = sort_by_key(read("content_features", condition), "content_features")
        rows = sort_by_key(read("rfm_features", condition), "rfm_features").merge(
            content, on=KEYS, suffixes=("", "__content")
        )
        rows = rows.merge(at[[*KEYS, "segment"]], on=KEYS)
        names, x = _numbers(rows.drop(columns=[*KEYS, "segment"]))
        parts += [
            pd.DataFrame(found).assign(cutoff_at=cutoff_at, description=[_in_words(one, values) for one in found])
            for found in largest_differences(names, x, rows["segment"].to_numpy())
            if found
        ]
    return _typed(parts, DIFFERENCE_TYPES)


def largest_differences(names: list[str], x: np.ndarray, segment: np.ndarray) -> list[list[dict]]:
    """By segment [n], the features of x [n, features] (NaN where missing) that tell it most from everybody."""
    known = np.isfinite(x)
    # Not by the spread: the mean of equal numbers is none of them in the last bit, and so far all would be from it.
    is_equal = np.where(known, x, -np.inf).max(axis=0) <= np.where(known, x, np.inf).min(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _mean_known(x, known)
        z = np.where(known & ~is_equal, x - mean, 0)
        z /= np.where(is_equal, 1, np.sqrt(np.square(z).mean(axis=0)))
    result = []
    for number in np.unique(segment):
        inside = segment == number
        difference = z[inside].mean(axis=0)
        chosen: list[int] = []
        for place in np.argsort(-np.abs(difference), kind="stable"):
            if len(chosen) == MOST_DIFFERENCES or abs(difference[place]) < SMALLEST_DIFFERENCE:
                break
            correlation = z[:, chosen].T @ z[:, place] / len(z)
            if not (np.abs(correlation) > SAME).any():
                chosen.append(int(place))
        with np.errstate(invalid="ignore"):
            segment_mean = _mean_known(x[inside], known[inside])
        result.append(
            [
                {
                    "segment": int(number),
                    "difference_rank": rank,
                    "feature": names[place],
                    "segment_mean": float(segment_mean[place]),
                    "customer_mean": float(mean[place]),
                    "standardised_difference": float(difference[place]),
                }
                for rank, place in enumerate(chosen, start=1)
            ]
        )
    return result


def _mean_known(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[features] of x [n, features]; NaN where nothing is known."""
    return np.where(known, x, 0).sum(axis=0) / known.sum(axis=0)


def _in_words(difference: dict, attribute_values: pd.DataFrame) -> str:
    """`high share of activities with category books: 0.61, all customers 0.2`."""
    name = difference["feature"]
    in_sequence = ", latest activities only" if name.endswith("_in_sequence") else ""
    words = name.replace("_", " ")
    plain = name.removesuffix("_in_sequence")
    value = re.fullmatch(r"(.+)_top_(\d+)_(count|share|days_since_last)", plain)
    whole = re.fullmatch(r"(.+)_(distinct|entropy)", plain)
    listed = attribute_values
    if value:
        row = listed[(listed["attribute_name"] == value[1]) & (listed["value_rank"] == int(value[2]))]
        if len(row):
            words = CONTENT_WORDS[value[3]].format(of=f"{value[1]} {row['attribute_value'].iloc[0]}") + in_sequence
    elif whole and (listed["attribute_name"] == whole[1]).any():
        words = CONTENT_WORDS[whole[2]].format(of=whole[1]) + in_sequence
    height = "high" if difference["standardised_difference"] > 0 else "low"
    return (
        f"{height} {words}: {_short(difference['segment_mean'])}, all customers {_short(difference['customer_mean'])}"
    )


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _numbers(features: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """The numeric columns' names, and [n, columns] float64 with NaN where a value is missing."""
    names = [name for name in features.columns if pd.api.types.is_numeric_dtype(features[name])]
    columns = [features[name].to_numpy(np.float64, na_value=np.nan) for name in names]
    return names, np.stack(columns, axis=1) if columns else np.empty((len(features), 0))


def _typed(parts: list[pd.DataFrame], types: dict[str, str]) -> pd.DataFrame:
    """One frame whose types do not depend on whether it has rows: a database makes the same table of both."""
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})
    return pd.concat(parts, ignore_index=True)[list(types)].astype(types)

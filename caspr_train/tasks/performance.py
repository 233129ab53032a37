"""How good the scores of an evaluation are: each metric with its error, each representation against the others.

All statistics see the same resamples of the customers (and of the seeds, where there are several), so a difference is
measured on the same customers: a paired bootstrap (Efron and Tibshirani 1993, ch. 13), with 95 % percentile intervals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from caspr_train.tasks import learners
from caspr_train.tasks.protocol import Task
from caspr_train.tasks.representations import BLOCKS, CONTROLS, sort_by_key

RESAMPLES = 500
INTERVAL = (2.5, 97.5)  # percentiles
BOOTSTRAP_SEED = 20_210
LOWER_IS_BETTER = ("rmse", "mae", "brier")

# The columns of a performance table and their types, the same with and without rows.
PERFORMANCE_TYPES = {
    "task": "string",
    "learner": "string",
    "representation": "string",
    "cutoff_at": "datetime64[us]",
    "metric": "string",
    "value": "float64",
    "standard_error": "float64",
    "seeds": "int64",
    "seed_standard_error": "float64",
    "difference_to_rfm": "float64",
    "difference_to_rfm_low": "float64",
    "difference_to_rfm_high": "float64",
    "difference_to_rfm_content": "float64",
    "difference_to_rfm_content_low": "float64",
    "difference_to_rfm_content_high": "float64",
    "best_control": "string",
    "difference_to_control": "float64",
    "difference_to_control_low": "float64",
    "difference_to_control_high": "float64",
    "is_headline": "bool",
    "is_champion": "bool",
    "customers": "int64",
    "note": "string",
}

Key = tuple[str, str, str]  # learner, representation, metric


def performance(evaluation: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The metrics of `protocol.evaluate`'s scores, of one seed or several; the columns are PERFORMANCE_TYPES.

    value: the mean over seeds. standard_error: of drawing customers and seeds anew. A difference is the value less that
    of `rfm`, of `rfm_content`, or of the best control, of the same learner (see `_rivals`). is_champion: see
    `champion`; it is decided on the headline metric at the newest evaluate cutoff. note says who was left out.
    """
    rows: list[dict[str, Any]] = []
    for cutoff_at, at_cutoff in evaluation.groupby("cutoff_at"):
        rows += _at_cutoff(at_cutoff, task, cutoff_at)
    newest = max((row["cutoff_at"] for row in rows), default=None)
    for row in rows:
        row["is_champion"] = row["is_champion"] and row["cutoff_at"] == newest
    columns = {name: [row[name] for row in rows] for name in PERFORMANCE_TYPES}
    return pd.DataFrame({name: pd.Series(columns[name], dtype=dtype) for name, dtype in PERFORMANCE_TYPES.items()})


def champion(values: dict[tuple[str, str], float], replicates: dict[tuple[str, str], np.ndarray]) -> tuple[str, str]:
    """(learner, representation): the simplest representation that nothing beats significantly, with its better learner.

    `values` of the headline metric, higher being better, and its `replicates` [resamples] of the same resamples. Beaten
    significantly: the interval of another one's difference to it lies above 0. Controls take no part, and no learner
    but those of learners.LEARNERS.
    """
    able = {
        key for key in values if key[0] in learners.LEARNERS and key[1] not in CONTROLS and values[key] == values[key]
    }
    for representation in BLOCKS:
        mine = [key for key in able if key[1] == representation]
        if mine:
            best = max(mine, key=lambda key: (values[key], key))
            if not any(_interval(replicates[other] - replicates[best])[0] > 0 for other in able):
                return best
    return ("", "")


def replicates(statistics: list[dict[Any, Any]], customers: int) -> dict[Any, np.ndarray]:
    """{key: [RESAMPLES]} of resampled customers and seeds; NaN where a statistic is (a class that was not drawn).

    `statistics`: one {key: statistic} a seed, with the same keys, of the same customers in the same order.
    """
    drawn = {key: np.full(RESAMPLES, np.nan) for key in statistics[0]}
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    for resample in range(RESAMPLES):
        weights = np.bincount(generator.integers(0, customers, customers), minlength=customers).astype(np.float64)
        seeds = np.bincount(generator.integers(0, len(statistics), len(statistics)), minlength=len(statistics))
        for key in drawn:
            total = sum(seeds[place] * one[key](weights) for place, one in enumerate(statistics) if seeds[place])
            drawn[key][resample] = total / len(statistics)
    return drawn


def _at_cutoff(evaluation: pd.DataFrame, task: Task, cutoff_at: pd.Timestamp) -> list[dict[str, Any]]:
    """The rows of one evaluate cutoff; customers whom one of the learners could not score are left out of all.

    A score that a learner gives to nobody is not asked of it, if it gives another.
    """
    seeds = sorted(evaluation["seed"].unique())
    groups = {
        key: sort_by_key(group, "evaluation").set_index("customer_id")
        for key, group in evaluation.groupby(["seed", "learner", "representation"])
    }
    names = [(learner, name) for seed, learner, name in groups if seed == seeds[0]]
    scores = [one.score for one in task.targets]
    everyone = customers = None
    able = {}
    for key, group in groups.items():
        given = [one for one in scores if group[one].notna().any()] or scores
        its = group.index[np.isfinite(group[given]).all(axis=1)]
        able[key] = len(its)
        everyone = its if everyone is None else everyone.union(its)
        customers = its if customers is None else customers.intersection(its)
    if everyone is None or customers is None or not len(customers):
        return []
    customers = customers.sort_values()
    unable = sorted({" on ".join(key[1:]) for key, count in able.items() if count < len(everyone)})
    exclusion = f"without {len(everyone) - len(customers)} customers whom {', '.join(unable)} could not score"
    statistics: list[dict[Key, Any]] = []
    remarks: dict[Key, str] = {}
    for seed in seeds:
        mine: dict[Key, Any] = {}
        for learner, name in names:
            group = groups[seed, learner, name].loc[customers]
            labels = {one.label: group[one.label].to_numpy(bool if one.is_boolean else float) for one in task.targets}
            labels |= {name: group[name].to_numpy(np.float64) for name in task.carried}
            made = task.statistics(labels, {score: group[score].to_numpy(np.float64) for score in scores})
            for metric, (statistic, remark) in made.items():
                mine[learner, name, metric] = statistic
                remarks.setdefault((learner, name, metric), remark)
        statistics.append(mine)
    everybody = np.ones(len(customers))
    by_seed = {key: np.array([one[key](everybody) for one in statistics]) for key in remarks}
    value = {key: float(of_seeds.mean()) for key, of_seeds in by_seed.items()}
    drawn = replicates(statistics, len(customers))
    sign = -1 if task.headline in LOWER_IS_BETTER else 1
    headline = {key[:2]: sign * value[key] for key in value if key[2] == task.headline}
    best = champion(headline, {key[:2]: sign * drawn[key] for key in value if key[2] == task.headline})
    rows = []
    for learner, name, metric in value:
        key = learner, name, metric
        rivals = _rivals(value, key)
        engineered = {
            other: _best([rival for rival in rivals if rival[1] == other], value) for other in ("rfm", "rfm_content")
        }
        control = _best([rival for rival in rivals if rival[1] in CONTROLS], value) if name not in CONTROLS else None
        note = groups[seeds[0], learner, name]["note"].iloc[0]
        rows.append(
            {
                "task": task.name,
                "learner": learner,
                "representation": name,
                "cutoff_at": cutoff_at,
                "metric": metric,
                "value": value[key],
                "standard_error": _deviation(drawn[key]),
                "seeds": len(seeds),
                "seed_standard_error": _deviation(by_seed[key]) / len(seeds) ** 0.5,
                **_difference("rfm", key, engineered["rfm"], value, drawn),
                **_difference("rfm_content", key, engineered["rfm_content"], value, drawn),
                "best_control": None if control is None else control[1],
                **_difference("control", key, control, value, drawn),
                "is_headline": metric == task.headline,
                "is_champion": (learner, name) == best,
                "customers": len(customers),
                "note": "; ".join(
                    filter(None, (remarks[key], "" if pd.isna(note) else str(note), exclusion if unable else ""))
                ),
            }
        )
    return rows


def _rivals(value: dict[Key, float], key: Key) -> list[Key]:
    """The others of the same learner; for BG/NBD and a fine-tuned encoder those of all of learners.LEARNERS."""
    able = (key[0],) if key[0] in learners.LEARNERS else learners.LEARNERS
    return [other for other in value if other != key and other[0] in able and other[2] == key[2]]


def _best(keys: list[Key], value: dict[Key, float]) -> Key | None:
    defined = [key for key in keys if value[key] == value[key]]
    return max(defined, key=lambda key: (-value[key] if key[2] in LOWER_IS_BETTER else value[key], key), default=None)


def _difference(
    name: str, key: Key, other: Key | None, value: dict[Key, float], drawn: dict[Key, np.ndarray]
) -> dict[str, float]:
    names = [f"difference_to_{name}{end}" for end in ("", "_low", "_high")]
    if other is None:
        return dict.fromkeys(names, np.nan)
    return dict(zip(names, (value[key] - value[other], *_interval(drawn[key] - drawn[other])), strict=True))


def _interval(drawn: np.ndarray) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    return tuple(np.percentile(known, INTERVAL)) if len(known) > 1 else (np.nan, np.nan)


def _deviation(drawn: np.ndarray) -> float:
    known = drawn[np.isfinite(drawn)]
    return float(known.std(ddof=1)) if len(known) > 1 else np.nan

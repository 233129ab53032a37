"""The two learners, with fixed settings and seeds: the same matrix gives the same scores, bit for bit.

The random forest is the paper's: 100 full-grown trees. The gradient-boosted trees of LightGBM stand beside it, because
full-grown forests gain AUROC from columns of pure noise and boosted trees do not.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from joblib import cpu_count
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

LEARNERS = ("random_forest", "lightgbm")
SEED = 20_210
CHUNK_ROWS = 65_536

Predict = Callable[[np.ndarray], np.ndarray]


def fit(learner: str, x: np.ndarray, y: np.ndarray) -> Predict:
    """Fit on x [n, columns] float32 (NaN = missing) and return a function [m, columns] -> [m] float64.

    A boolean y [n] is classified and the function gives the probability of True; any other y is regressed. The caller
    sees to it that a boolean y holds both classes (`base_rate` otherwise).
    """
    if learner == "random_forest":
        return _fit_forest(x, y)
    if learner == "lightgbm":
        return _fit_lightgbm(x, y)
    raise ValueError(f"learner: found {learner!r}, expected one of {LEARNERS}")


def base_rate(y: np.ndarray) -> Predict:
    """The same score for everybody: the mean of y. For when there is nothing to tell the rows apart by."""
    rate = float(np.mean(y))
    return lambda x: np.full(len(x), rate)


def worker_threads() -> int:
    """Half of the cores this process may use: dbt runs the two tasks side by side in one process (`threads: 2`)."""
    return max(1, cpu_count() // 2)  # joblib's count heeds a container's share; threads beyond it would wait in circles


def _fit_forest(x: np.ndarray, y: np.ndarray) -> Predict:
    # scikit-learn lets a regression forest look at every column at each split; with an embedding beside the features
    # that costs ten times the time and gains nothing in RMSE, so both kinds look at the square root of them, which is
    # the classifier's default.
    settings = {"n_estimators": 100, "max_features": "sqrt", "random_state": SEED, "n_jobs": worker_threads()}
    forest = (RandomForestClassifier if y.dtype == bool else RandomForestRegressor)(**settings).fit(x, y)
    # With several jobs the forest adds up its trees in the order in which threads finish, and the last bit of a sum
    # depends on the order. Threads over chunks of rows, each adding its trees one after the other, do not.
    forest.n_jobs = 1

    def predict(rows: np.ndarray) -> np.ndarray:
        return forest.predict_proba(rows)[:, 1] if y.dtype == bool else forest.predict(rows)

    def predict_in_threads(rows: np.ndarray) -> np.ndarray:
        share = max(1, -(-len(rows) // worker_threads()))
        with ThreadPoolExecutor(worker_threads()) as pool:
            parts = pool.map(predict, [rows[start : start + share] for start in range(0, len(rows), share)])
            return np.concatenate([*parts]).astype(np.float64)

    return predict_in_threads


def _fit_lightgbm(x: np.ndarray, y: np.ndarray) -> Predict:
    # A thread for every 10,000 rows: with fewer, LightGBM's threads mostly wait for each other.
    threads = min(worker_threads(), 1 + len(x) // 10_000)
    settings: dict[str, Any] = {
        "n_estimators": 200,
        "learning_rate": 0.03,
        "num_leaves": 7,  # a few thousand customers are usual: with 15 leaves churn loses about one AUROC point
        "min_child_samples": 20,
        "random_state": SEED,
        "n_jobs": threads,
        "deterministic": True,
        "force_row_wise": True,  # else LightGBM times both layouts and takes the faster: another run, another sum
        "verbosity": -1,
    }
    if y.dtype == bool:
        classifier = LGBMClassifier(**settings).fit(x, y)
        return lambda rows: np.asarray(classifier.predict_proba(rows))[:, 1].astype(np.float64)
    regressor = LGBMRegressor(**settings).fit(x, y)
    return lambda rows: np.asarray(regressor.predict(rows), np.float64)

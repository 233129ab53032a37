"""The two learners, with fixed settings and seeds: the same matrix gives the same scores, bit for bit.

The random forest is the paper's: 100 full-grown trees. The gradient-boosted trees of LightGBM stand beside it, because
full-grown forests gain AUROC from columns of pure noise and boosted trees do not. Probabilities are calibrated by a
logistic curve over their log-odds (Platt 1999), learnt on rows that the trees did not see.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from joblib import cpu_count
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression

LEARNERS = ("random_forest", "lightgbm")
SEED = 20_210
CHUNK_ROWS = 65_536
# Fewer rows than this do not tell how far a probability is off.
FEWEST_TO_CALIBRATE = 100

Predict = Callable[[np.ndarray], np.ndarray]


def fit(learner: str, x: np.ndarray, y: np.ndarray, is_apart: np.ndarray, seed: int = 1) -> Predict:
    """Fit on x [n, columns] float32 (NaN = missing) and return a function [m, columns] -> [m] float64.

    A boolean y [n] is classified and the function gives the calibrated probability of True; any other y is regressed.
    `is_apart` [n] bool is a part of the rows, of other customers than the rest, that a boosted classifier is calibrated
    on (a forest is on the rows that each tree did not draw). The caller sees to it that a boolean y holds both classes
    (`base_rate` otherwise).
    """
    if learner == "random_forest":
        return _fit_forest(x, y, SEED + seed)
    if learner == "lightgbm":
        return _fit_lightgbm(x, y, is_apart, SEED + seed)
    raise ValueError(f"learner: found {learner!r}, expected one of {LEARNERS}")


def base_rate(y: np.ndarray) -> Predict:
    """The same score for everybody: the mean of y. For when there is nothing to tell the rows apart by."""
    rate = float(np.mean(y)) if len(y) else np.nan
    return lambda x: np.full(len(x), rate)


def worker_threads() -> int:
    """Half of the cores this process may use: dbt runs the two tasks side by side in one process (`threads: 2`)."""
    return max(1, cpu_count() // 2)  # joblib's count heeds a container's share; threads beyond it would wait in circles


def calibrated(probability: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The map from a probability to a calibrated one, learnt from probabilities [n] of rows not fitted on and their y.

    Monotone; the identity where there is too little to learn from, or nothing that rises with the probability.
    """
    if len(y) < FEWEST_TO_CALIBRATE or y.all() or not y.any():
        return lambda scores: scores
    curve = LogisticRegression(C=1e6).fit(_log_odds(probability), y)
    if curve.coef_[0, 0] <= 0:
        return lambda scores: scores
    return lambda scores: curve.predict_proba(_log_odds(scores))[:, 1]


def _log_odds(probability: np.ndarray) -> np.ndarray:
    """[n, 1]; what 100 trees agree on is no certainty, so the ends are half a tree away from 0 and 1."""
    inside = np.clip(probability, 0.005, 0.995)
    return np.log(inside / (1 - inside))[:, None]


def _fit_forest(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    # scikit-learn lets a regression forest look at every column at each split; with an embedding beside the features
    # that costs ten times the time and gains nothing in RMSE, so both kinds look at the square root of them, which is
    # the classifier's default.
    settings = {"n_estimators": 100, "max_features": "sqrt", "random_state": seed, "n_jobs": worker_threads()}
    is_classifier = y.dtype == bool
    if is_classifier:
        settings["oob_score"] = _no_score
    forest = (RandomForestClassifier if is_classifier else RandomForestRegressor)(**settings).fit(x, y)
    # With several jobs the forest adds up its trees in the order in which threads finish, and the last bit of a sum
    # depends on the order. Threads over chunks of rows, each adding its trees one after the other, do not.
    forest.n_jobs = 1
    calibrate: Predict = _same
    if is_classifier:
        out_of_bag = forest.oob_decision_function_[:, 1]
        is_known = np.isfinite(out_of_bag)
        calibrate = calibrated(out_of_bag[is_known], y[is_known])

    def predict(rows: np.ndarray) -> np.ndarray:
        return calibrate(forest.predict_proba(rows)[:, 1]) if is_classifier else forest.predict(rows)

    def predict_in_threads(rows: np.ndarray) -> np.ndarray:
        share = max(1, -(-len(rows) // worker_threads()))
        with ThreadPoolExecutor(worker_threads()) as pool:
            parts = pool.map(predict, [rows[start : start + share] for start in range(0, len(rows), share)])
            return np.concatenate([*parts]).astype(np.float64)

    return predict_in_threads


def _fit_lightgbm(x: np.ndarray, y: np.ndarray, is_apart: np.ndarray, seed: int) -> Predict:
    # A thread for every 10,000 rows: with fewer, LightGBM's threads mostly wait for each other.
    threads = min(worker_threads(), 1 + len(x) // 10_000)
    settings: dict[str, Any] = {
        "n_estimators": 200,
        "learning_rate": 0.03,
        "num_leaves": 7,  # a few thousand customers are usual: with 15 leaves churn loses about one AUROC point
        "min_child_samples": 20,
        "random_state": seed,
        "n_jobs": threads,
        "deterministic": True,
        "force_row_wise": True,  # else LightGBM times both layouts and takes the faster: another run, another sum
        "verbosity": -1,
    }
    if y.dtype != bool:
        regressor = LGBMRegressor(**settings).fit(x, y)
        return lambda rows: np.asarray(regressor.predict(rows), np.float64)
    classifier = LGBMClassifier(**settings).fit(x, y)
    calibrate: Predict = _same
    if is_apart.sum() >= FEWEST_TO_CALIBRATE and len(np.unique(y[~is_apart])) == 2:
        without = LGBMClassifier(**settings).fit(x[~is_apart], y[~is_apart])
        calibrate = calibrated(np.asarray(without.predict_proba(x[is_apart]))[:, 1], y[is_apart])
    return lambda rows: calibrate(np.asarray(classifier.predict_proba(rows))[:, 1].astype(np.float64))


def _same(scores: np.ndarray) -> np.ndarray:
    return scores


def _no_score(actual: np.ndarray, predicted: np.ndarray) -> float:
    """For a forest that keeps its out-of-bag probabilities; their accuracy is nobody's business."""
    return 0.0

"""The two learners, with fixed settings and seeds: the same matrix gives the same scores, bit for bit.

The random forest is the paper's: 100 full-grown trees. The gradient-boosted trees of LightGBM stand beside it, because
full-grown forests gain AUROC from columns of pure noise and boosted trees do not. Probabilities are calibrated by a
logistic curve over their log-odds (Platt 1999), learnt on rows of customers that the trees did not see. It rises
strictly, so it never moves a rank.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from joblib import cpu_count
from lightgbm import LGBMClassifier, LGBMRegressor
from scipy.special import expit
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression

from caspr_train.tasks import sample

LEARNERS = ("random_forest", "lightgbm")
SEED = 20_210
CHUNK_ROWS = 65_536
TREES = 100  # of a forest
ROUNDS = 200  # of boosting, a tree each
# Fewer of either kind than this do not tell how far a probability is off: ten for each number that the curve has.
FEWEST_TO_CALIBRATE = 20

_ONE_FOREST = threading.Lock()

Predict = Callable[[np.ndarray], np.ndarray]


def fit(learner: str, x: np.ndarray, y: np.ndarray, customers: Sequence[str], seed: int = 1) -> Predict:
    """Fit on x [n, columns] float32 (NaN = missing) and return a function [m, columns] -> [m] float64.

    A boolean y [n] is classified and the function gives the calibrated probability of True; any other y is regressed.
    `customers` [n] says whose rows they are: a classifier is calibrated on customers that its trees did not see. The
    caller sees to it that a boolean y holds both classes (`base_rate` otherwise).
    """
    if learner == "random_forest":
        return _fit_forest(x, y, customers, (SEED + seed) % 2**32)  # scikit-learn takes no larger one
    if learner == "lightgbm":
        return _fit_lightgbm(x, y, customers, SEED + seed)
    raise ValueError(f"learner: found {learner!r}, expected one of {LEARNERS}")


def base_rate(y: np.ndarray) -> Predict:
    """The same score for everybody: the mean of y. For when there is nothing to tell the rows apart by."""
    rate = float(np.mean(y)) if len(y) else np.nan
    return lambda x: np.full(len(x), rate)


def cores() -> int:
    """The cores this process may use. As many threads for a forest: they sleep while they wait for a core."""
    return cpu_count()  # joblib's heeds a container's share


def worker_threads() -> int:
    """Half of the cores, for threads that wait in circles (OpenMP): dbt runs two tasks side by side (`threads: 2`)."""
    return max(1, cores() // 2)


def calibrated(log_odds: np.ndarray, y: np.ndarray) -> Predict | None:
    """The map from log-odds to calibrated probabilities, learnt from log-odds [n] of rows not fitted on and their y.

    Strictly rising; None where there is too little to learn from, or nothing that rises with them. Platt's targets
    are a little inside of 0 and 1: where the classes are apart the curve would else be a step, and its ends one tie.
    """
    if not _is_enough(y):
        return None
    positives, negatives = int(y.sum()), int((~y).sum())
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    rows, is_positive = np.tile(log_odds, 2)[:, None], np.repeat([True, False], len(y))
    curve = LogisticRegression(C=1e6).fit(rows, is_positive, np.concatenate([target, 1 - target]))
    slope, height = float(curve.coef_[0, 0]), float(curve.intercept_[0])
    return (lambda values: expit(height + slope * values)) if slope > 0 else None


def _calibrated_apart(
    fit: Callable[[np.ndarray, np.ndarray], Predict], x: np.ndarray, y: np.ndarray, customers: Sequence[str]
) -> Predict | None:
    """`calibrated` on a third of the customers, with log-odds of what `fit` makes of the rows of the others."""
    is_apart = sample.is_apart(customers)
    if not _is_enough(y[is_apart]) or y[~is_apart].all() or not y[~is_apart].any():
        return None
    return calibrated(fit(x[~is_apart], y[~is_apart])(x[is_apart]), y[is_apart])


def _is_enough(y: np.ndarray) -> bool:
    return min(y.sum(), (~y).sum()) >= FEWEST_TO_CALIBRATE


def _fit_forest(x: np.ndarray, y: np.ndarray, customers: Sequence[str], seed: int) -> Predict:
    # scikit-learn lets a regression forest look at every column at each split; with an embedding beside the features
    # that costs ten times the time and gains nothing in RMSE, so both kinds look at the square root of them, which is
    # the classifier's default.
    settings = {"n_estimators": TREES, "max_features": "sqrt", "random_state": seed, "n_jobs": cores()}
    is_classifier = y.dtype == bool
    # The rows that a tree did not draw are unknown to it only where none of the same customer is among the drawn.
    is_once = is_classifier and len(set(customers)) == len(customers)
    if is_once:
        settings["oob_score"] = _no_score

    def grown(x: np.ndarray, y: np.ndarray) -> Any:
        with _growing():
            return (RandomForestClassifier if is_classifier else RandomForestRegressor)(**settings).fit(x, y)

    forest = grown(x, y)
    curve = None
    if is_once:
        out_of_bag = forest.oob_decision_function_[:, 1]
        is_known = np.isfinite(out_of_bag)
        curve = calibrated(_log_odds(out_of_bag[is_known]), y[is_known])
    elif is_classifier:

        def fit(x: np.ndarray, y: np.ndarray) -> Predict:
            without = grown(x, y)
            return lambda rows: _log_odds(_mean_of_trees(without, rows))

        curve = _calibrated_apart(fit, x, y, customers)

    def predict(rows: np.ndarray) -> np.ndarray:
        mean = _mean_of_trees(forest, rows)
        return mean if curve is None else curve(_log_odds(mean))

    def predict_in_threads(rows: np.ndarray) -> np.ndarray:
        share = max(1, -(-len(rows) // cores()))
        with ThreadPoolExecutor(cores()) as pool:
            parts = pool.map(predict, [rows[start : start + share] for start in range(0, len(rows), share)])
            return np.concatenate([*parts]).astype(np.float64)

    return predict_in_threads


def _mean_of_trees(forest: RandomForestClassifier | RandomForestRegressor, rows: np.ndarray) -> np.ndarray:
    """[n] float64: the mean of what the trees say of rows [n, columns] float32, a classifier's of True.

    They are added up in their order. The forest's own threads add in the order in which they finish, and the last bit
    of a sum depends on that.
    """
    is_classifier = isinstance(forest, RandomForestClassifier)
    total = np.zeros(len(rows))
    for tree in forest.estimators_:
        # Unchecked, as the forest does it: else each tree would look for infinities in all of it.
        said = (tree.predict_proba if is_classifier else tree.predict)(rows, check_input=False)
        total += said[:, 1] if is_classifier else said
    return total / len(forest.estimators_)


@contextmanager
def _growing() -> Iterator[None]:
    """One forest at a time: it has every core, and what becomes of Python's warnings meanwhile is nobody else's.

    scikit-learn hands each of a forest's threads the filters of warnings by emptying the one list that Python has
    (sklearn/utils/parallel.py, 1.9.1). Now and then a thread empties the list it was to copy; from then on every tree
    warns of a `delayed` that is used as it should be, amidst the output of dbt. That warning is not shown, and the list
    is put back.
    """
    with _ONE_FOREST, warnings.catch_warnings():
        show = warnings.showwarning

        def show_others(message: Any, *more: Any, **named: Any) -> None:
            if "sklearn.utils.parallel.delayed" not in str(message):
                show(message, *more, **named)

        warnings.showwarning = show_others
        yield


def _log_odds(probability: np.ndarray) -> np.ndarray:
    """What all trees agree on is no certainty: half a tree more says yes, and half a tree no (the empirical logit)."""
    yes = TREES * probability + 0.5
    return np.log(yes / (TREES + 1 - yes))


def _fit_lightgbm(x: np.ndarray, y: np.ndarray, customers: Sequence[str], seed: int) -> Predict:
    # A thread for every 10,000 rows: with fewer, LightGBM's threads mostly wait for each other.
    threads = min(worker_threads(), 1 + len(x) // 10_000)
    settings: dict[str, Any] = {
        "n_estimators": ROUNDS,
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

    def fit(x: np.ndarray, y: np.ndarray) -> Predict:
        classifier = LGBMClassifier(**settings).fit(x, y)
        return lambda rows: np.asarray(classifier.predict(rows, raw_score=True), np.float64)

    log_odds = fit(x, y)
    curve = _calibrated_apart(fit, x, y, customers) or expit
    return lambda rows: curve(log_odds(rows))


def _no_score(actual: np.ndarray, predicted: np.ndarray) -> float:
    """For a forest that keeps its out-of-bag probabilities; their accuracy is nobody's business."""
    return 0.0

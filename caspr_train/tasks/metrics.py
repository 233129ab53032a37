"""Metrics as functions of weights.

A statistic is a function weights [n] -> number, where a weight says how many times a customer counts: ones give the
metric itself, a resample of the customers gives one bootstrap replicate. What does not depend on the weights (ranks,
ties, errors) is computed once, so a replicate costs a few passes over n numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

Statistic = Callable[[np.ndarray], float]


def auroc(is_positive: np.ndarray, score: np.ndarray) -> Statistic:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, a tie counting one half.

    is_positive [n] bool, score [n]. NaN where one of the classes has no weight.
    """
    _, rank = np.unique(score, return_inverse=True)
    ranks = int(rank.max()) + 1 if len(rank) else 0
    positive_rank, negative_rank = rank[is_positive], rank[~is_positive]

    def statistic(weights: np.ndarray) -> float:
        positives = np.bincount(positive_rank, weights[is_positive], minlength=ranks)
        negatives = np.bincount(negative_rank, weights[~is_positive], minlength=ranks)
        pairs = positives.sum() * negatives.sum()
        if pairs == 0:
            return np.nan
        return float(positives @ (np.cumsum(negatives) - 0.5 * negatives) / pairs)

    return statistic


def f1(is_positive: np.ndarray, is_predicted: np.ndarray) -> Statistic:
    """F1 of the positive class: 2 TP / (2 TP + FP + FN). NaN where nothing is positive nor predicted to be."""
    is_hit = is_positive & is_predicted
    named = is_positive.astype(np.float64) + is_predicted  # TP counts twice

    def statistic(weights: np.ndarray) -> float:
        total = float(named @ weights)
        return 2 * float(weights[is_hit].sum()) / total if total else np.nan

    return statistic


def average_precision(is_positive: np.ndarray, score: np.ndarray) -> Statistic:
    """Mean of the precision at each positive's score: the area under the steps of precision over recall.

    is_positive [n] bool, score [n]; equal scores are one step, as scikit-learn's average_precision_score counts them.
    NaN where nothing is positive.
    """
    totals = _totals_from_the_top(is_positive, score)

    def statistic(weights: np.ndarray) -> float:
        hits, customers = totals(weights)
        precision = np.divide(hits, customers, out=np.zeros(len(hits)), where=customers > 0)
        positives = hits[-1] if len(hits) else 0.0
        return float(precision @ np.diff(hits, prepend=0.0) / positives) if positives else np.nan

    return statistic


def precision_at(is_positive: np.ndarray, score: np.ndarray, share: float) -> Statistic:
    """Positives among the `share` of customers with the highest scores, as a share of them; ties count alike."""
    totals = _totals_from_the_top(is_positive, score)

    def statistic(weights: np.ndarray) -> float:
        most = share * weights.sum()
        return _hits(*totals(weights), most) / most if most else np.nan

    return statistic


def recall_at(is_positive: np.ndarray, score: np.ndarray, share: float) -> Statistic:
    """What part of the positives is among the `share` of customers with the highest scores. NaN without positives."""
    totals = _totals_from_the_top(is_positive, score)

    def statistic(weights: np.ndarray) -> float:
        hits, customers = totals(weights)
        positives = float(weights[is_positive].sum())
        return _hits(hits, customers, share * weights.sum()) / positives if positives else np.nan

    return statistic


def _totals_from_the_top(
    is_positive: np.ndarray, score: np.ndarray
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """weights [n] -> (positives, customers) [distinct scores], highest first: how many have that score or more."""
    _, rank = np.unique(-score, return_inverse=True)
    ranks = int(rank.max()) + 1 if len(rank) else 0

    def totals(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hits = np.bincount(rank[is_positive], weights[is_positive], minlength=ranks)
        return np.cumsum(hits), np.cumsum(np.bincount(rank, weights, minlength=ranks))

    return totals


def _hits(hits: np.ndarray, customers: np.ndarray, most: float) -> float:
    """Positives among the first `most` customers; of those with one score each counts alike."""
    return float(np.interp(most, np.concatenate([[0.0], customers]), np.concatenate([[0.0], hits])))


def rmse(actual: np.ndarray, predicted: np.ndarray) -> Statistic:
    """Root of the mean squared error, in the unit of the target."""
    squared = np.square(predicted - actual)
    return lambda weights: float(np.sqrt(squared @ weights / weights.sum())) if weights.sum() else np.nan


def mae(actual: np.ndarray, predicted: np.ndarray) -> Statistic:
    """Mean absolute error, in the unit of the target."""
    absolute = np.abs(predicted - actual)
    return lambda weights: float(absolute @ weights / weights.sum()) if weights.sum() else np.nan


def spearman(actual: np.ndarray, predicted: np.ndarray) -> Statistic:
    """Rank correlation; ties share their mean rank. NaN where either side is constant.

    The ranks are those of all the customers: a resample is not ranked anew, which would cost two sorts a replicate and
    moves the standard error by less than its own uncertainty.
    """
    x, y = (pd.Series(values).rank().to_numpy() for values in (actual, predicted))

    def statistic(weights: np.ndarray) -> float:
        total = weights.sum()
        if not total:
            return np.nan
        dx, dy = x - x @ weights / total, y - y @ weights / total
        spread = np.sqrt((weights * dx) @ dx * ((weights * dy) @ dy))
        return float((weights * dx) @ dy / spread) if spread else np.nan

    return statistic


def brier(is_positive: np.ndarray, probability: np.ndarray) -> Statistic:
    """Mean squared distance between the probability and what happened (Brier 1950)."""
    squared = np.square(probability - is_positive)
    return lambda weights: float(squared @ weights / weights.sum()) if weights.sum() else np.nan


def auroc_if_any(is_positive: np.ndarray, score: np.ndarray) -> tuple[Statistic, str]:
    """`auroc` and no remark; or, where there is nothing to rank, a statistic that is NaN and the reason."""
    if len(score) and score.min() == score.max():
        return _undefined, "no auroc: all scores are the same"
    if is_positive.all() or not is_positive.any():
        return _undefined, "no auroc: all customers are of one class"
    return auroc(is_positive, score), ""


def _undefined(weights: np.ndarray) -> float:
    return np.nan

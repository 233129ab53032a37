"""Churn: who will do nothing within the horizon (section 6 of the paper, Table 4)."""

from __future__ import annotations

import pandas as pd

from caspr_train.tasks import metrics, protocol
from caspr_train.tasks.protocol import Target

# A customer is called churning at this probability or more.
THRESHOLD = 0.5
CHURN = Target(label="is_churned", score="churn_probability", is_boolean=True)


def score(
    rfm_features: pd.DataFrame, customer_embeddings: pd.DataFrame, churn_labels: pd.DataFrame, cutoffs: pd.DataFrame
) -> pd.DataFrame:
    """Long: the columns of `protocol.score` with churn_probability, and is_churn_predicted.

    The arguments are the marts of these names. Raises DataError (see `protocol.score`).
    """
    scores = protocol.score(rfm_features, customer_embeddings, churn_labels, cutoffs, [CHURN])
    return scores.assign(is_churn_predicted=scores[CHURN.score] >= THRESHOLD)


def performance(scores: pd.DataFrame, churn_labels: pd.DataFrame) -> pd.DataFrame:
    """AUROC, and F1 of the churning class, at each evaluate cutoff; the columns are `metrics.PERFORMANCE_TYPES`."""
    rows = []
    for evaluated in protocol.evaluated(scores, churn_labels, [CHURN]):
        is_churned = evaluated.labels[CHURN.label]
        statistics = {}
        for key, columns in evaluated.scores.items():
            probability = columns[CHURN.score]
            is_predicted = probability >= THRESHOLD
            statistics[(*key, "auroc")] = metrics.auroc_if_any(is_churned, probability)
            statistics[(*key, "f1")] = metrics.f1(is_churned, is_predicted), f"churning class, threshold {THRESHOLD}"
        rows += metrics.performance_rows("churn", evaluated, statistics)
    return metrics.performance_frame(rows)

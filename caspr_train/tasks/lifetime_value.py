"""Lifetime value: how much each customer will spend within the horizon, and who the most valuable ones will be.

The high-value segment are the top customers who made 80 % of the revenue (section 6 of the paper, Table 5).
"""

from __future__ import annotations

import pandas as pd

from caspr_train.tasks import metrics, protocol
from caspr_train.tasks.protocol import Target

REVENUE = Target(label="future_revenue", score="predicted_revenue", is_boolean=False)
HIGH_VALUE = Target(label="is_high_value", score="high_value_probability", is_boolean=True)


def score(
    rfm_features: pd.DataFrame,
    customer_embeddings: pd.DataFrame,
    lifetime_value_labels: pd.DataFrame,
    cutoffs: pd.DataFrame,
) -> pd.DataFrame:
    """Long: the columns of `protocol.score` with predicted_revenue and high_value_probability.

    The arguments are the marts of these names. Revenue is in the unit of the monetary attribute, and negative where
    refunds outweigh. Raises DataError (see `protocol.score`).
    """
    return protocol.score(rfm_features, customer_embeddings, lifetime_value_labels, cutoffs, [REVENUE, HIGH_VALUE])


def performance(scores: pd.DataFrame, lifetime_value_labels: pd.DataFrame) -> pd.DataFrame:
    """AUROC of the high-value segment; RMSE, MAE and rank correlation of the revenue, at each evaluate cutoff.

    The columns are `metrics.PERFORMANCE_TYPES`.
    """
    rows = []
    for evaluated in protocol.evaluated(scores, lifetime_value_labels, [REVENUE, HIGH_VALUE]):
        revenue, is_high_value = evaluated.labels[REVENUE.label], evaluated.labels[HIGH_VALUE.label]
        statistics = {}
        for key, columns in evaluated.scores.items():
            predicted = columns[REVENUE.score]
            statistics[(*key, "auroc")] = metrics.auroc_if_any(is_high_value, columns[HIGH_VALUE.score])
            statistics[(*key, "rmse")] = metrics.rmse(revenue, predicted), ""
            statistics[(*key, "mae")] = metrics.mae(revenue, predicted), ""
            statistics[(*key, "spearman")] = metrics.spearman(revenue, predicted), ""
        rows += metrics.performance_rows("lifetime_value", evaluated, statistics)
    return metrics.performance_frame(rows)

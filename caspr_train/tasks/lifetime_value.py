"""Lifetime value: how much each customer will spend within the horizon, and who the most valuable ones will be.

The high-value segment are the top customers who made 80 % of the revenue (section 6 of the paper, Table 5). Revenue is
in the unit of the monetary attribute, and negative where refunds outweigh.
"""

from __future__ import annotations

import numpy as np

from caspr_train.tasks import metrics
from caspr_train.tasks.protocol import Target, Task


def _statistics(labels: dict[str, np.ndarray], scores: dict[str, np.ndarray]) -> dict[str, tuple]:
    """AUROC of the high-value segment; RMSE, MAE and rank correlation of the revenue.

    BG/NBD with Gamma-Gamma gives an expectation and no probability of being of high value, and ranks by that.
    """
    revenue, predicted = labels["future_revenue"], scores["predicted_revenue"]
    probability = scores["high_value_probability"]
    return {
        "auroc": metrics.auroc_if_any(
            labels["is_high_value"], predicted if np.isnan(probability).all() else probability
        ),
        "rmse": (metrics.rmse(revenue, predicted), ""),
        "mae": (metrics.mae(revenue, predicted), ""),
        "spearman": (metrics.spearman(revenue, predicted), ""),
    }


LIFETIME_VALUE = Task(
    name="lifetime_value",
    labels="lifetime_value_labels",
    targets=(
        Target(label="future_revenue", score="predicted_revenue", is_boolean=False),
        Target(label="is_high_value", score="high_value_probability", is_boolean=True),
    ),
    statistics=_statistics,
    headline="auroc",
    of_purchases=("predicted_revenue",),
)

"""Churn: who will do nothing within the horizon (section 6 of the paper, Table 4)."""

from __future__ import annotations

import numpy as np

from caspr_train.tasks import metrics
from caspr_train.tasks.protocol import Target, Task

# A customer is called churning at this probability or more.
THRESHOLD = 0.5


def _statistics(labels: dict[str, np.ndarray], scores: dict[str, np.ndarray]) -> dict[str, tuple]:
    """AUROC, Brier score, and F1 of the churning class."""
    is_churned, probability = labels["is_churned"], scores["churn_probability"]
    return {
        "auroc": metrics.auroc_if_any(is_churned, probability),
        "brier": (metrics.brier(is_churned, probability), ""),
        "f1": (metrics.f1(is_churned, probability >= THRESHOLD), f"churning class, threshold {THRESHOLD}"),
    }


CHURN = Task(
    name="churn",
    labels="churn_labels",
    targets=(Target(label="is_churned", score="churn_probability", is_boolean=True),),
    statistics=_statistics,
    headline="auroc",
    of_purchases=("churn_probability",),
)

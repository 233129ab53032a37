"""Fraud: whose account a confirmed fraud will happen to within the horizon (section 6 of the paper).

The engineered features to be beaten are those of `rfm_content`.
"""

from __future__ import annotations

import numpy as np

from caspr_train.tasks import metrics
from caspr_train.tasks.protocol import Target, Task


def _statistics(labels: dict[str, np.ndarray], scores: dict[str, np.ndarray]) -> dict[str, tuple]:
    """AUROC, average precision, precision at the top 1 %, and recall at as many alerts as can be looked into."""
    is_fraud, probability = labels["is_fraud"], scores["fraud_probability"]
    share = min(1.0, float(labels["alert_share"][0]))
    alerts = f"recall at alerts on {100 * share:.3g} % of the customers, which is what can be looked into"
    return {
        "auroc": metrics.auroc_if_any(is_fraud, probability),
        "average_precision": (metrics.average_precision(is_fraud, probability), ""),
        "precision_at_1_percent": (metrics.precision_at(is_fraud, probability, 0.01), ""),
        "recall_at_alerts": (metrics.recall_at(is_fraud, probability, share), alerts),
    }


FRAUD = Task(
    name="fraud",
    labels="fraud_labels",
    targets=(Target(label="is_fraud", score="fraud_probability", is_boolean=True),),
    statistics=_statistics,
    headline="auroc",
    known_at="known_at",
    reported_at="reported_at",
    carried=("alert_share",),
)

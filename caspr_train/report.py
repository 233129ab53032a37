"""What `caspr_train report` prints: how well each representation predicts, and where the tables are."""

from __future__ import annotations

from caspr_train.tasks.tables import performance_table
from caspr_train.warehouse import Reader

TABLES = (
    "churn_predictions",
    "lifetime_value_predictions",
    "product_recommendations",
    "fraud_predictions",
    "model_performance",
    "model_leaderboard",
    "prediction_deciles",
    "prediction_reliability",
    "customer_embeddings",
)


def report_text(reader: Reader) -> str:
    """The table of model_performance, the names of the tables that people read, and one query to begin with."""
    predictions = reader.relation("churn_predictions").replace(reader.quote, "")
    query = f"select customer_id, churn_probability, decile from {predictions} order by churn_probability desc"
    return "\n".join(
        [
            performance_table(reader.performance().to_pandas()),
            "",
            f"tables in {reader.where}:",
            *(f"  {reader.relation(table)}" for table in TABLES),
            "the ten customers most likely to leave:",
            f'  dbt show --limit 10 --inline "{query}"',
        ]
    )

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
    """The table of model_performance, how many are predicted without it, the tables that people read, a first query."""
    predictions = reader.relation("churn_predictions").replace(reader.quote, "")
    query = f"select customer_id, churn_probability, decile from {predictions} order by churn_probability desc"
    return "\n".join(
        [
            performance_table(reader.performance().to_pandas()),
            *_without_activity(reader),
            "",
            f"tables in {reader.where}:",
            *(f"  {reader.relation(table)}" for table in TABLES),
            "the ten customers most likely to leave:",
            f'  dbt show --limit 10 --inline "{query}"',
        ]
    )


def _without_activity(reader: Reader) -> list[str]:
    """How many customers are predicted from the profile alone, which nothing above measures; nothing if none is."""
    count = sum(reader.mart("customer_counts")["customers_without_activity"].to_pylist())
    if not count:
        return []
    return ["", f"{count:,} customers without any activity are predicted from their profile alone, and not measured"]

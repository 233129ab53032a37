"""What `caspr_train report` prints: how well each representation predicts, and where the tables are."""

from __future__ import annotations

from caspr_train.tasks.tables import performance_table
from caspr_train.warehouse.duckdb import Reader


def performance_text(reader: Reader) -> str:
    """The table of model_performance, ready for a terminal."""
    return performance_table(reader.performance().to_pandas())


def where_to_look(reader: Reader) -> str:
    """The names of the tables that people read, and one query to begin with."""
    predictions = reader.relation("churn_predictions")
    tables = [
        reader.relation(m)
        for m in ("churn_predictions", "lifetime_value_predictions", "model_performance", "customer_embeddings")
    ]
    query = (
        f"select customer_id, churn_probability from {predictions} where learner = 'lightgbm' "
        "and representation = 'rfm' order by churn_probability desc limit 10"
    )
    return "\n".join(
        [
            "",
            f"tables in {reader.where}:",
            *(f"  {t}" for t in tables),
            "look at them:",
            f'  dbt show --limit 10 --inline "{query.replace(chr(34), "")}"',
        ]
    )

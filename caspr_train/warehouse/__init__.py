"""The marts in, the embeddings and scores out."""

from caspr_train.errors import UsageError
from caspr_train.project import DbtProject
from caspr_train.warehouse.duckdb import DuckDBWarehouse
from caspr_train.warehouse.postgres import PostgresWarehouse
from caspr_train.warehouse.reader import Reader
from caspr_train.warehouse.spark import SparkWarehouse

Warehouse = DuckDBWarehouse | PostgresWarehouse | SparkWarehouse
KINDS: dict[str, type[Warehouse]] = {"duckdb": DuckDBWarehouse, "postgres": PostgresWarehouse, "spark": SparkWarehouse}


def open_warehouse(project: DbtProject, wait_seconds: float = 60.0) -> Warehouse:
    """The warehouse behind the project's target; nothing is opened before it is read or written."""
    kind = project.credentials.type
    if kind not in KINDS:
        raise UsageError(
            f"target {project.target} is of type {kind}; the trainer reaches {', '.join(KINDS)} so far. "
            "Choose such a target with --target"
        )
    return KINDS[kind](project, wait_seconds)


__all__ = ["DuckDBWarehouse", "PostgresWarehouse", "Reader", "SparkWarehouse", "Warehouse", "open_warehouse"]

"""The marts in, the embeddings out."""

from caspr_train.errors import UsageError
from caspr_train.project import DbtProject
from caspr_train.warehouse.duckdb import DuckDBWarehouse


def open_warehouse(project: DbtProject, wait_seconds: float = 60.0) -> DuckDBWarehouse:
    """The warehouse behind the project's target; nothing is opened before it is read or written."""
    kind = project.credentials.type
    if kind != "duckdb":
        raise UsageError(
            f"target {project.target} is of type {kind}; the trainer reaches duckdb so far. "
            "Choose a duckdb target with --target"
        )
    return DuckDBWarehouse(project, wait_seconds)


__all__ = ["DuckDBWarehouse", "open_warehouse"]

"""CASPR: customer activity sequences to embeddings and predictions."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caspr_train.bundle import Bundle

__all__ = ["Bundle", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`from caspr_train import Bundle` without torch for those who do not ask for it: it takes seconds to import."""
    if name == "Bundle":
        from caspr_train.bundle import Bundle

        return Bundle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

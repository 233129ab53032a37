"""CASPR: customer activity sequences to embeddings and predictions."""

__version__ = "0.1.0"

"""The CASPR model: event embedding, encoder, decoder, autoencoder. Imports torch, never duckdb or dbt."""

from caspr_train.model.autoencoder import Caspr, Shape

__all__ = ["Caspr", "Shape"]

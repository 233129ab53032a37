"""From a bundle and the marts to vectors in files, ready to be loaded."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from caspr_train.bundle import Bundle
from caspr_train.files import whole
from caspr_train.sequences import RESERVED, PackedSequences, Windows

SEQUENCES_AT_ONCE = 4096

CUSTOMER_EMBEDDINGS = pa.schema(
    [
        ("customer_id", pa.string()),
        ("cutoff_at", pa.timestamp("us")),
        ("model_version", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("embedded_at", pa.timestamp("us")),
    ]
)
ITEM_EMBEDDINGS = pa.schema(
    [
        ("item", pa.string()),
        ("model_version", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("embedded_at", pa.timestamp("us")),
    ]
)


@torch.no_grad()
def embed(bundle: Bundle, sequences: PackedSequences, device: torch.device | str = "cpu") -> np.ndarray:
    """The customer vectors [n, embedding_width] float32 of the packed sequences, in their order."""
    model = bundle.model(device)
    windows = Windows(sequences.to(torch.device(device)), bundle.config.sequence_length, bundle.encoding.days_scaler)
    which = torch.arange(len(sequences), device=device)
    return torch.cat([model.embed(windows.cut(part)).float().cpu() for part in which.split(SEQUENCES_AT_ONCE)]).numpy()


def write_customer_embeddings(
    path: Path, parts: Iterable[tuple[pa.Table, np.ndarray]], model_version: str, embedded_at: datetime
) -> int:
    """Write (keys, vectors) parts, as pack and embed give them, to one Parquet file; the number of rows."""
    rows = 0
    with whole(path) as draft, pq.ParquetWriter(draft, CUSTOMER_EMBEDDINGS) as writer:
        for keys, vectors in parts:
            writer.write_table(
                pa.table(
                    {
                        "customer_id": keys["customer_id"].cast(pa.string()),
                        "cutoff_at": keys["cutoff_at"].cast(pa.timestamp("us")),
                        **_constant(len(keys), model_version, embedded_at),
                        "embedding": _lists(vectors),
                    }
                )
                .select(CUSTOMER_EMBEDDINGS.names)
                .cast(CUSTOMER_EMBEDDINGS)
            )
            rows += len(keys)
    return rows


def write_item_embeddings(path: Path, bundle: Bundle, embedded_at: datetime) -> int:
    """Write the input embedding of every item seen at the train cutoff; none without an attribute of role item."""
    item = bundle.schema.with_role("item")
    names, vectors = [], np.zeros((0, 1), np.float32)
    if item is not None:
        place = bundle.schema.select("sequence", "categorical").index(item)
        names = bundle.encoding.vocabularies_[f"sequence.{item.name}"].values_
        vectors = bundle.model().item_table(place).numpy()[RESERVED:]
    table = pa.table(
        {
            "item": pa.array(names, pa.string()),
            **_constant(len(names), bundle.model_version, embedded_at),
            "embedding": _lists(vectors),
        }
    )
    with whole(path) as draft:
        pq.write_table(table.select(ITEM_EMBEDDINGS.names).cast(ITEM_EMBEDDINGS), draft)
    return len(names)


def _constant(rows: int, model_version: str, embedded_at: datetime) -> dict[str, pa.Array]:
    return {
        "model_version": pa.repeat(model_version, rows),
        "embedded_at": pa.repeat(pa.scalar(embedded_at, pa.timestamp("us")), rows),
    }


def _lists(vectors: np.ndarray) -> pa.Array:
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, vectors.astype(np.float32).reshape(-1))

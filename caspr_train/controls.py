"""Vectors that an embedding must beat to be worth anything: of an untrained encoder, and the mean of the raw events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from caspr_train.bundle import Bundle, shape_of
from caspr_train.embedding import ROWS_A_GROUP, Embedder, Known, lists, look_up
from caspr_train.files import whole
from caspr_train.model import Caspr
from caspr_train.sequences import PAD, Batch, PackedSequences, Windows

CONTROLS = ("random_encoder", "mean_pool")
MOST_COLUMNS = 32  # of a categorical attribute in the mean of the raw events
AT_ONCE = 4096  # sequences

CONTROL_EMBEDDINGS = pa.schema(
    [
        ("customer_id", pa.string()),
        ("cutoff_at", pa.timestamp("us")),
        ("model_version", pa.string()),
        ("control", pa.string()),
        ("embedding", pa.list_(pa.float32())),
    ]
)


def write_control_embeddings(
    path: Path,
    bundle: Bundle,
    packed: Sequence[tuple[PackedSequences, pa.Table]],
    device: torch.device | str = "cpu",
    known: Mapping[str, Mapping[datetime, Known]] | None = None,
    taking_part: Mapping[datetime, pa.Array] | None = None,
) -> int:
    """Write both controls of the (sequences, keys), as they were packed, to a Parquet file; its rows.

    Of those customers only who take part in measuring, if `taking_part` names them by cutoff: a bounded number at any
    size. What is `known` by control and cutoff is copied where the encoded input is the same, as
    write_customer_embeddings does.
    """
    untrained, rows = untrained_bundle(bundle), 0
    with whole(path) as draft, pq.ParquetWriter(draft, CONTROL_EMBEDDINGS) as writer:
        for sequences, keys in packed:
            with Embedder(untrained, sequences, device) as embedder:
                # Of the untrained vector everything, the columns that nothing is learnt for included.
                sources: tuple[Embedder | MeanPool, ...] = (embedder, MeanPool(bundle, embedder.windows))
                for start in range(0, len(sequences), ROWS_A_GROUP):
                    names = keys.slice(start, ROWS_A_GROUP).combine_chunks()
                    which = np.flatnonzero(_take_part(names, taking_part))
                    names, places = names.take(pa.array(which)), torch.from_numpy(which + start)
                    hashes = embedder.windows.input_hash(places)
                    for control, source in zip(CONTROLS, sources, strict=True):
                        same, vectors = look_up((known or {}).get(control, {}), names, hashes, source.width)
                        vectors[~same] = source.vectors(places[torch.from_numpy(~same)])
                        table = {
                            "customer_id": names["customer_id"],
                            "cutoff_at": names["cutoff_at"],
                            "model_version": pa.repeat(bundle.model_version, len(names)),
                            "control": pa.repeat(control, len(names)),
                            "embedding": lists(vectors),
                        }
                        writer.write_table(pa.table(table).cast(CONTROL_EMBEDDINGS))
                        rows += len(names)
    return rows


def _take_part(names: pa.Table, taking_part: Mapping[datetime, pa.Array] | None) -> np.ndarray:
    """[n] bool: which of the keys are named."""
    if not taking_part:
        return np.ones(len(names), bool)
    named = np.zeros(len(names), bool)
    for cutoff_at in pc.unique(names["cutoff_at"]).to_pylist():
        here = pc.and_(pc.equal(names["cutoff_at"], cutoff_at), pc.is_in(names["customer_id"], taking_part[cutoff_at]))
        named |= np.asarray(here)
    return named


def untrained_bundle(bundle: Bundle) -> Bundle:
    """The bundle with the weights that its training began with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(bundle.config.seed)
        model = Caspr(bundle.config, shape_of(bundle.encoding))
    return replace(bundle, weights=model.state_dict())


class MeanPool:
    """The mean over the window's activities of everything an activity is, without a weight that was learnt.

    A number is two columns: its standardised value (0 where missing) and whether it is missing. A category is a column
    for each value; with more than MOST_COLUMNS values these are projected to so many at random, by the run's seed.
    """

    def __init__(self, bundle: Bundle, windows: Windows) -> None:
        self.windows = windows
        generator = torch.Generator().manual_seed(bundle.config.seed)
        self.tables = []
        for values in shape_of(bundle.encoding).sequence_cardinalities:
            table = torch.eye(values)
            if values > MOST_COLUMNS:
                table = torch.randn(values, MOST_COLUMNS, generator=generator) / MOST_COLUMNS**0.5
            table[PAD] = 0.0
            self.tables.append(table)
        # Of the windows' numbers, and of the days before the cutoff.
        self.width = 2 * (windows.sequences.numbers.shape[1] + 1) + sum(table.shape[1] for table in self.tables)

    def vectors(self, which: Tensor) -> np.ndarray:
        """[b, columns] float32 of the sequences `which` [b]."""
        parts = [self.of(self.windows.cut(part)) for part in which.split(AT_ONCE)]
        return torch.cat(parts).numpy()

    def of(self, batch: Batch) -> Tensor:
        """[b, columns] float32."""
        numbers = torch.cat([batch.numbers, batch.days_before[..., None]], dim=-1)
        columns = [numbers.nan_to_num(), numbers.isnan().float()]
        columns += [table[batch.categories[..., i]] for i, table in enumerate(self.tables)]
        there = torch.cat(columns, dim=-1) * batch.valid[..., None]
        return there.sum(1) / batch.valid.sum(1, keepdim=True)

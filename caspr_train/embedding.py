"""From a bundle and packed sequences to vectors in files, ready to be loaded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from caspr_train.bundle import Bundle
from caspr_train.files import whole
from caspr_train.sequences import RESERVED, PackedSequences, Windows, batches

# Every batch has this many sequences, the last one filled up: kernels choose their way by the shape, and the same
# vector comes out whatever else is embedded. On a CPU it fits the cache.
SEQUENCES_AT_ONCE = {"cpu": 256, "cuda": 4096}
ROWS_A_GROUP = 65_536  # of the Parquet file: what is in memory at once

CUSTOMER_EMBEDDINGS = pa.schema(
    [
        ("customer_id", pa.string()),
        ("cutoff_at", pa.timestamp("us")),
        ("model_version", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("embedded_at", pa.timestamp("us")),
        ("input_hash", pa.int64()),
    ]
)
ITEM_EMBEDDINGS = pa.schema(
    [
        ("item", pa.string()),
        ("model_version", pa.string()),
        ("embedding", pa.list_(pa.float32())),
        ("bias", pa.float64()),
        ("embedded_at", pa.timestamp("us")),
    ]
)


class Embedder:
    """Embeds any of the packed sequences; on one device a sequence's vector is the same bit for bit, whatever is
    embedded beside it. Close it after use."""

    def __init__(self, bundle: Bundle, sequences: PackedSequences, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.windows = Windows(sequences, bundle.config.sequence_length, bundle.encoding.days_scaler)
        self._model = bundle.model(self.device)
        self.width = self._model.width
        # On a CPU two threads of one product cut it in places that depend on the batch, and sums differ in the last
        # bit. So each product has one thread, and the threads have a batch each.
        self._threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, "caspr_train.embed", torch.set_num_threads, (1,))

    def __enter__(self) -> Embedder:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        torch.set_num_threads(self._threads)

    def vectors(self, which: Tensor) -> np.ndarray:
        """The customer vectors [b, width] float32 of the sequences `which` [b]."""
        size = SEQUENCES_AT_ONCE[self.device.type]
        cuts = [torch.cat([part, part[:1].expand(size - len(part))]) for part in which.split(size) if len(part)]
        if self.device.type == "cpu":
            parts = list(self._pool.map(self._on_cpu, cuts))
        else:
            with torch.no_grad():
                cut = batches(self.windows, ((part, None) for part in cuts), self.device)
                parts = [self._model.embed(batch).float().cpu() for batch in cut]
        return torch.cat([torch.empty(0, self.width), *parts])[: len(which)].numpy()

    @torch.no_grad()
    def _on_cpu(self, which: Tensor) -> Tensor:
        return self._model.embed(self.windows.cut(which))


def embed(bundle: Bundle, sequences: PackedSequences, device: torch.device | str = "cpu") -> np.ndarray:
    """The customer vectors [n, width] float32 of the packed sequences, in their order."""
    with Embedder(bundle, sequences, device) as embedder:
        return embedder.vectors(torch.arange(len(sequences)))


@dataclass
class Known:
    """Vectors of one model version and cutoff that are known already.

    `rows` holds customer_id, input_hash and embedding, ordered by the bytes of customer_id. They are asked for in that
    order too, so that of millions only a slice is looked at.
    """

    rows: pa.Table
    _place: int = 0

    @classmethod
    def load(cls, path: Path) -> Known:
        """Map the file that `write_known` wrote."""
        return cls(pa.ipc.open_file(pa.memory_map(str(path))).read_all())

    def unchanged(self, customers: pa.Array, hashes: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the customers [b] in order: which [b] bool are known with that hash; their vectors [known, width]."""
        ids = self.rows["customer_id"]
        last = customers[-1].as_py().encode()
        end = bisect_right(range(len(ids)), last, lo=self._place, key=lambda place: ids[place].as_py().encode())
        rows = self.rows.slice(self._place, end - self._place).combine_chunks()
        self._place = end
        found = pc.index_in(customers, value_set=rows["customer_id"].combine_chunks())
        same = pc.equal(rows["input_hash"].take(found), pa.array(hashes))
        same = pc.and_(same, pc.equal(pc.list_value_length(rows["embedding"]).take(found), width))
        mask = np.asarray(pc.fill_null(same, False))
        vectors = rows["embedding"].take(found.filter(pa.array(mask))).combine_chunks().flatten()
        return mask, np.asarray(vectors.cast(pa.float32())).reshape(-1, width)


KNOWN = pa.schema([(name, CUSTOMER_EMBEDDINGS.field(name).type) for name in ("customer_id", "input_hash", "embedding")])


def write_known(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Write customer_id, input_hash and embedding, as the database gives them, to a file that can be mapped."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, KNOWN) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).cast(KNOWN))


@dataclass
class EmbeddedRows:
    """How many rows a file got, and for how many of them a vector was computed; the others' were known."""

    rows: int = 0
    computed: int = 0


def write_customer_embeddings(
    path: Path,
    bundle: Bundle,
    packed: Iterable[tuple[PackedSequences, pa.Table]],
    embedded_at: datetime,
    device: torch.device | str = "cpu",
    known: Mapping[datetime, Known] | None = None,
) -> EmbeddedRows:
    """Embed (sequences, keys), as they were packed, into one Parquet file, a row group at a time.

    What is `known` by cutoff is copied where the encoded input is the same: a vector is a function of the model and of
    that input, so the file equals one that is computed whole.
    """
    said = EmbeddedRows()
    with ExitStack() as stack:
        draft = stack.enter_context(whole(path))
        writer = stack.enter_context(pq.ParquetWriter(draft, CUSTOMER_EMBEDDINGS))
        for sequences, keys in packed:
            with Embedder(bundle, sequences, device) as embedder:
                for start in range(0, len(sequences), ROWS_A_GROUP):
                    which = torch.arange(start, min(start + ROWS_A_GROUP, len(sequences)))
                    names = keys.slice(start, len(which)).combine_chunks()
                    hashes = embedder.windows.input_hash(which)
                    same, vectors = look_up(known or {}, names, hashes, embedder.width)
                    vectors[~same] = embedder.vectors(which[torch.from_numpy(~same)])
                    table = {
                        "customer_id": names["customer_id"],
                        "cutoff_at": names["cutoff_at"],
                        **_constant(len(names), bundle.model_version, embedded_at),
                        "embedding": lists(vectors),
                        "input_hash": hashes,
                    }
                    writer.write_table(pa.table(table).select(CUSTOMER_EMBEDDINGS.names).cast(CUSTOMER_EMBEDDINGS))
                    said.rows += len(which)
                    said.computed += int((~same).sum())
    return said


def look_up(
    known: Mapping[datetime, Known], keys: pa.Table, hashes: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows [b] bool of the keys are known, and all vectors [b, width], zero where not; see Known."""
    same, vectors = np.zeros(len(keys), bool), np.zeros((len(keys), width), np.float32)
    if known:
        for cutoff in pc.unique(keys["cutoff_at"]):  # at most two or three: the keys are ordered by it
            here = np.flatnonzero(np.asarray(pc.equal(keys["cutoff_at"], cutoff)))
            if rows := known.get(cutoff.as_py()):
                customers = keys["customer_id"].take(pa.array(here)).combine_chunks()
                mask, found = rows.unchanged(customers, hashes[here], width)
                same[here[mask]], vectors[here[mask]] = True, found
    return same, vectors


def write_item_embeddings(path: Path, bundle: Bundle, embedded_at: datetime) -> int:
    """Write all items seen at the train cutoff, as Caspr.item_space gives them; none without such an attribute."""
    item = bundle.schema.with_role("item")
    names, vectors, biases = [], np.zeros((0, 1), np.float32), None
    if item is not None:
        place = bundle.schema.select("sequence", "categorical").index(item)
        names = bundle.encoding.vocabularies_[f"sequence.{item.name}"].values_
        table, bias = bundle.model().item_space(place)
        vectors, biases = table.numpy()[RESERVED:], None if bias is None else bias.numpy()[RESERVED:]
    columns = pa.table(
        {
            "item": pa.array(names, pa.string()),
            **_constant(len(names), bundle.model_version, embedded_at),
            "embedding": lists(vectors),
            "bias": pa.nulls(len(names), pa.float64()) if biases is None else biases,
        }
    )
    with whole(path) as draft:
        pq.write_table(columns.select(ITEM_EMBEDDINGS.names).cast(ITEM_EMBEDDINGS), draft)
    return len(names)


def _constant(rows: int, model_version: str, embedded_at: datetime) -> dict[str, pa.Array]:
    return {
        "model_version": pa.repeat(model_version, rows),
        "embedded_at": pa.repeat(pa.scalar(embedded_at, pa.timestamp("us")), rows),
    }


def lists(vectors: np.ndarray) -> pa.Array:
    """The rows of [n, width] as an Arrow array of float32 lists."""
    offsets = np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, vectors.astype(np.float32).reshape(-1))

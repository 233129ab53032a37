"""Memory of packing, training and embedding for any number of customers: `python -m benchmarks.memory`.

Customers are made up column by column and come as Arrow batches, as from a warehouse: 15 activities each, with the six
categorical attributes of KKBOX (41, 38, 2, 2, 22 and 6 values) and six numbers. The package's own code packs, trains
for one epoch, or for `--minutes` of one, and embeds everybody into a Parquet file. Memory is that of this process:
anonymous (its own) and of files (mapped pages, which the system takes back when it needs them), the peaks of each and
of their sum.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from caspr_train import checkpoint
from caspr_train.bundle import Bundle, shape_of
from caspr_train.config import preset
from caspr_train.embedding import write_customer_embeddings
from caspr_train.encoding import Encoding
from caspr_train.learner import Job
from caspr_train.model import Caspr
from caspr_train.packing import keys_of, pack_folder
from caspr_train.schema import Attribute, Schema
from caspr_train.sequences import PackedSequences
from caspr_train.stopping import Stopped
from caspr_train.trainer import train

T = 15
VALUES = (41, 38, 2, 2, 22, 6)
NUMBERS = 6
SCHEMA = Schema(
    tuple(
        Attribute(name, "sequence", kind, "monetary" if name == "number_0" else None, name)
        for name, kind in [
            *((f"category_{i}", "categorical") for i in range(len(VALUES))),
            *((f"number_{i}", "numerical") for i in range(NUMBERS)),
        ]
    )
)
CUTOFF = pa.scalar(np.datetime64("2025-01-01", "us"))
CUSTOMERS_A_BATCH = 4096


def activities(customers: int) -> Iterator[pa.RecordBatch]:
    words = [pa.array([f"value {value}" for value in range(n)]) for n in VALUES]
    for first in range(0, customers, CUSTOMERS_A_BATCH):
        rng = np.random.default_rng(first)
        n = min(CUSTOMERS_A_BATCH, customers - first)
        rows = n * T
        age = np.sort(rng.integers(1, 10**8, (n, T)), axis=1)[:, ::-1].reshape(-1)
        columns = {
            "customer_id": names(first, n).take(pa.array(np.repeat(np.arange(n), T))),
            "cutoff_at": pa.repeat(CUTOFF, rows),
            "position": np.tile(np.arange(1, T + 1), n),
            "seconds_since_previous": rng.exponential(1e6, rows),
            "seconds_before_cutoff": age.astype(float),
        }
        columns |= {
            f"category_{i}": word.take(pa.array(rng.integers(0, len(word), rows))) for i, word in enumerate(words)
        }
        columns |= {f"number_{i}": rng.standard_normal(rows) for i in range(NUMBERS)}
        yield from pa.table(columns).to_batches()


def profiles(customers: int) -> Iterator[pa.RecordBatch]:
    for first in range(0, customers, CUSTOMERS_A_BATCH):
        n = min(CUSTOMERS_A_BATCH, customers - first)
        yield from pa.table({"customer_id": names(first, n), "cutoff_at": pa.repeat(CUTOFF, n)}).to_batches()


def names(first: int, n: int) -> pa.Array:
    return pa.array(np.char.mod("c%09d", np.arange(first, first + n)))


class Peak:
    """The most memory of this process since the last `said`, looked up twenty times a second."""

    def __init__(self) -> None:
        self.anonymous = self.files = self.both = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            anonymous, files = (int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
            self.anonymous, self.files = max(self.anonymous, anonymous), max(self.files, files)
            self.both = max(self.both, anonymous + files)
            time.sleep(0.05)

    def said(self, what: str, started: float) -> None:
        gib = [f"{value / 2**30:.2f}" for value in (self.anonymous, self.files, self.both)]
        print(
            f"{what:<28} {time.perf_counter() - started:7.1f} s   peak GiB: anonymous {gib[0]}, files {gib[1]}, "
            f"together {gib[2]}",
            flush=True,
        )
        self.anonymous = self.files = self.both = 0


def trained(folder: Path, job: Job, minutes: float) -> Caspr:
    """Train for one epoch; after `minutes` it is told to stop, as with Ctrl-C, and the model is the checkpoint's."""
    timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        return train(0, 1, torch.device("cpu"), folder, job)
    except Stopped as stopped:
        print(stopped, flush=True)
    finally:
        timer.cancel()
    read = checkpoint.newest(folder / "checkpoints", job.identity)
    assert read is not None
    model = Caspr(job.config, job.shape)
    model.load_state_dict({k.removeprefix("model."): v for k, v in read[1].items() if k.startswith("model.")})
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--batch-size", type=int, default=8192)
    parser.add_argument("--minutes", type=float, default=5.0, help="the longest that is trained")
    parser.add_argument("--folder", type=Path, help="where to pack (default: a temporary folder)")
    options = parser.parse_args()
    config, peak = preset(options.preset, batch_size=options.batch_size, epochs=1), Peak()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder, started = Path(temporary) / "packed", time.perf_counter()
        encoding = Encoding(SCHEMA).fit(activities(options.customers), profiles(options.customers))
        peak.said("fit the encoding", started)

        started = time.perf_counter()
        pack_folder(folder, activities(options.customers), profiles(options.customers), encoding, 0.1)
        peak.said("pack", started)
        size = sum(path.stat().st_size for path in folder.glob("*.npy"))
        print(f"packed {options.customers:,} customers x {T} x 12 attributes: {size / 1e6:,.1f} MB", flush=True)

        started = time.perf_counter()
        looks_ahead = config.next_event_weight or config.future_window_weight
        horizon = 90 * 86_400 if looks_ahead else 0
        job = Job(config, shape_of(encoding), encoding.days_scaler, horizon, {"benchmark": "memory"})
        model = trained(Path(temporary), job, options.minutes)
        peak.said("train", started)

        started, out = time.perf_counter(), Path(temporary) / "customer_embeddings.parquet"
        bundle = Bundle("benchmark", config, encoding, model.state_dict(), {}, {})
        packed = [(PackedSequences.load(folder), keys_of(folder))]
        rows = write_customer_embeddings(out, bundle, packed, datetime(2025, 1, 1))
        peak.said(f"embed {rows.computed:,}", started)
        print(f"{out.name}: {out.stat().st_size / 1e6:,.1f} MB", flush=True)


if __name__ == "__main__":
    main()

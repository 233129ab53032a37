"""Small marts made of numpy, for tests of what comes after SQL. The same columns as hand-over 1."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from caspr_train.bundle import shape_of
from caspr_train.config import Config
from caspr_train.encoding import Encoding
from caspr_train.packing import held_out, pack
from caspr_train.schema import Attribute, Schema
from caspr_train.sequences import PackedSequences, Windows
from caspr_train.trainer import Job

DAY = 86_400.0
SCHEMA = Schema(
    (
        Attribute("activity_type", "sequence", "categorical", None, "activity_type"),
        Attribute("product", "sequence", "categorical", "item", "product"),
        Attribute("amount", "sequence", "numerical", "monetary", "amount"),
        Attribute("country", "profile", "categorical", None, "country"),
        Attribute("age", "profile", "numerical", None, "age"),
    )
)


def marts(customers: int = 300, seed: int = 0, longest: int = 30, types=None) -> tuple[pa.Table, pa.Table]:
    """activity_sequences and customer_profiles of one cutoff. `types(rng, lengths)` gives the activity types."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, customers)
    rows, owner = int(lengths.sum()), np.repeat(np.arange(customers), lengths)
    position = np.arange(rows) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    gaps = np.round(rng.exponential(5 * DAY, rows))
    since_start = np.cumsum(gaps) - np.repeat((np.cumsum(gaps) - gaps)[np.cumsum(lengths) - lengths], lengths)
    last = since_start[np.cumsum(lengths) - 1]
    age = np.repeat(last + np.round(rng.exponential(20 * DAY, customers)) + 1, lengths) - since_start
    kinds = types(rng, lengths) if types else rng.choice(["order", "visit", "ticket"], rows, p=[0.5, 0.3, 0.2])
    names = np.array([f"c{i:06d}" for i in range(customers)])
    cutoff = np.full(max(rows, customers), np.datetime64("2025-01-01", "us"))
    activities = pa.table(
        {
            "customer_id": names[owner],
            "cutoff_at": cutoff[:rows],
            "position": position,
            "seconds_since_previous": pa.array(gaps, mask=position == 1),
            "seconds_before_cutoff": age,
            "activity_type": kinds,
            "product": pa.array(rng.choice([f"p{i}" for i in range(20)], rows), mask=kinds != "order"),
            "amount": pa.array(rng.lognormal(3, 1, rows), mask=kinds != "order"),
        }
    )
    profiles = pa.table(
        {
            "customer_id": names,
            "cutoff_at": cutoff[:customers],
            "country": rng.choice(["DE", "FR", "UK"], customers),
            "age": rng.normal(40, 10, customers),
            "profile_began_at": pa.nulls(customers, pa.timestamp("us")),
        }
    )
    return activities, profiles


def at(table: pa.Table, cutoff: datetime) -> pa.Table:
    """The rows as those of another cutoff."""
    place = table.schema.get_field_index("cutoff_at")
    return table.set_column(place, "cutoff_at", pa.repeat(pa.scalar(cutoff, pa.timestamp("us")), len(table)))


def packed(config: Config, customers: int = 300, **options) -> tuple[PackedSequences, Encoding, pa.Table]:
    activities, profiles = marts(customers, **options)
    encoding = Encoding(SCHEMA, config.number_transform, config.minimum_count).fit(activities, profiles)
    sequences, keys = pack(activities, profiles, encoding)
    return sequences, encoding, keys


def job_of(config: Config, encoding: Encoding) -> Job:
    horizon = int(90 * DAY) if config.windows == "random" else 0
    return Job(config, shape_of(encoding), encoding.days_scaler, horizon)


def windows_of(config: Config, sequences: PackedSequences, encoding: Encoding) -> Windows:
    return job_of(config, encoding).windows(sequences)


def training_folder(folder: Path, config: Config, **options) -> Job:
    """A folder as trainer.train expects it; the job to run there."""
    sequences, encoding, keys = packed(config, **options)
    out = torch.from_numpy(held_out(keys["customer_id"], config.validation_share))
    sequences.save(folder / "packed", out)
    return job_of(config, encoding)


def restless(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights as a training may leave them: none of them is zero, and so no input is without effect."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: weight + 0.2 * torch.randn(weight.shape, generator=generator)
        for name, weight in model.state_dict().items()
    }

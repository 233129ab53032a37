"""Controls: the vectors that an embedding must beat are what they say they are."""

from __future__ import annotations

import hashlib
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from caspr_train import controls
from caspr_train.bundle import Bundle, shape_of
from caspr_train.config import preset
from caspr_train.controls import MeanPool, untrained_bundle, write_control_embeddings
from caspr_train.encoding import Encoding
from caspr_train.learner import Job, Learner
from caspr_train.model import Caspr
from caspr_train.packing import pack
from caspr_train.sequences import PAD, Windows
from caspr_train.tasks import sample
from tests.frames import SCHEMA, marts


def bundle_of() -> Bundle:
    config = preset("default", sequence_length=7)
    encoding = Encoding(SCHEMA, config.number_transform, config.minimum_count).fit(*marts(200))
    torch.manual_seed(3)
    weights = Caspr(config, shape_of(encoding)).state_dict()
    return Bundle("0123456789ab", config, encoding, weights, {}, {})


def test_the_untrained_encoder_is_the_one_that_training_begins_with():
    bundle = bundle_of()
    sequences, _ = pack(*marts(50), bundle.encoding)
    job = Job(bundle.config, shape_of(bundle.encoding), bundle.encoding.days_scaler, 86_400)
    begun = Learner(job, job.windows(sequences), torch.device("cpu")).model.state_dict()
    for name, weight in untrained_bundle(bundle).weights.items():
        assert weight.equal(begun[name]), name


def test_the_mean_of_the_raw_events_is_that_of_one_after_the_other(monkeypatch):
    monkeypatch.setattr(controls, "MOST_COLUMNS", 10)
    bundle = bundle_of()
    sequences, _ = pack(*marts(40, seed=2), bundle.encoding)
    windows = Windows(sequences, 7, bundle.encoding.days_scaler)
    found = MeanPool(bundle, windows).vectors(torch.arange(40))
    batch = windows.cut(torch.arange(40))
    numbers = torch.cat([batch.numbers, batch.days_before[..., None]], dim=-1)
    values = shape_of(bundle.encoding).sequence_cardinalities
    assert min(values) <= controls.MOST_COLUMNS < max(values), "a value a column, and projected"
    assert found.shape[1] == 2 * numbers.shape[-1] + sum(min(n, controls.MOST_COLUMNS) for n in values)
    for i in range(40):
        events = [k for k in range(7) if batch.valid[i, k]]
        there = np.array([[0.0 if np.isnan(x) else x for x in numbers[i, k].tolist()] for k in events])
        missing = np.array([[float(np.isnan(x)) for x in numbers[i, k].tolist()] for k in events])
        expected = [there.mean(0), missing.mean(0)]
        at = 2 * numbers.shape[-1]
        np.testing.assert_allclose(found[i, :at], np.concatenate(expected), atol=1e-5)
        for column, n in enumerate(values):
            if n <= controls.MOST_COLUMNS:
                codes = [int(batch.categories[i, k, column]) for k in events]
                assert PAD not in codes
                shares = np.bincount(codes, minlength=n) / len(codes)
                np.testing.assert_allclose(found[i, at : at + n], shares, atol=1e-6)
            at += min(n, controls.MOST_COLUMNS)


def test_only_who_takes_part_in_measuring_has_controls(tmp_path, monkeypatch):
    bundle = bundle_of()
    sequences, keys = pack(*marts(120, seed=4), bundle.encoding)
    later = keys.set_column(1, "cutoff_at", pa.repeat(pa.scalar(datetime(2025, 3, 1), pa.timestamp("us")), len(keys)))
    path = tmp_path / "controls.parquet"
    assert write_control_embeddings(path, bundle, [(sequences, keys), (sequences, later)]) == 4 * 120
    table = pq.read_table(path)
    assert table.schema.equals(controls.CONTROL_EMBEDDINGS)
    lengths = table.group_by("control").aggregate([("embedding", "count")])
    assert sorted(lengths["control"].to_pylist()) == ["mean_pool", "random_encoder"]
    untrained = table.filter(pa.compute.equal(table["control"], "random_encoder"))["embedding"]
    whole = Caspr(bundle.config, shape_of(bundle.encoding)).width
    assert whole > bundle.config.embedding_width
    assert {len(vector) for vector in untrained.to_pylist()} == {whole}
    monkeypatch.setattr(controls, "is_sampled", lambda ids, customers: sample.is_sampled(ids, customers, 30))
    rows = write_control_embeddings(path, bundle, [(sequences, keys), (sequences, later)])
    few = pq.read_table(path)
    chosen = {c for c in keys["customer_id"].to_pylist() if int(hashlib.md5(c.encode()).hexdigest()[:8], 16) < 2**30}
    assert set(few["customer_id"].to_pylist()) == chosen and rows == 4 * len(chosen) and 10 < len(chosen) < 60
    assert write_control_embeddings(path, bundle, []) == 0

"""Controls: the vectors that an embedding must beat are what they say they are."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from caspr_train import controls
from caspr_train.bundle import Bundle, shape_of
from caspr_train.config import preset
from caspr_train.controls import MeanPool, untrained_bundle, write_control_embeddings
from caspr_train.embedding import Known, write_known
from caspr_train.encoding import Encoding
from caspr_train.learner import Job, Learner
from caspr_train.model import Caspr
from caspr_train.packing import pack
from caspr_train.sequences import PAD, Windows
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
    customers = keys["customer_id"].combine_chunks()
    taking_part = {datetime(2025, 1, 1): customers[:40], datetime(2025, 3, 1): customers[30:60]}
    packed = [(sequences, keys), (sequences, later)]
    assert write_control_embeddings(path, bundle, packed, taking_part=taking_part) == 2 * (40 + 30)
    few = pq.read_table(path)
    for at, chosen in taking_part.items():
        here = few.filter(pa.compute.equal(few["cutoff_at"], at))["customer_id"].to_pylist()
        assert here == [*chosen.to_pylist(), *chosen.to_pylist()]
    assert write_control_embeddings(path, bundle, []) == 0


def test_only_who_changed_is_worked_out_and_the_file_is_that_of_a_full_run(tmp_path, monkeypatch):
    monkeypatch.setattr(controls, "ROWS_A_GROUP", 64)
    bundle = bundle_of()
    activities, profiles = marts(150, seed=5)

    def full(name: str, taking_part: dict[datetime, pa.Array]) -> pa.Table:
        packed = pack(activities, profiles, bundle.encoding)
        write_control_embeddings(tmp_path / name, bundle, [packed], taking_part=taking_part)
        return pq.read_table(tmp_path / name)

    everybody = pa.array(sorted(set(activities["customer_id"].to_pylist())))
    before = full("before.parquet", {datetime(2025, 1, 1): everybody[:80]})
    sequences, keys = pack(activities, profiles, bundle.encoding)
    hashes = Windows(sequences, 7, bundle.encoding.days_scaler).input_hash(torch.arange(len(sequences)))
    hash_of = dict(zip(keys["customer_id"].to_pylist(), hashes.tolist(), strict=True))

    def known() -> dict[str, dict[datetime, Known]]:
        found = {}
        for control in controls.CONTROLS:
            rows = before.filter(pa.compute.equal(before["control"], control))
            rows = rows.append_column("input_hash", pa.array([hash_of[c] for c in rows["customer_id"].to_pylist()]))
            write_known(tmp_path / control, rows.select(["customer_id", "input_hash", "embedding"]).to_batches())
            found[control] = {datetime(2025, 1, 1): Known.load(tmp_path / control)}
        return found

    # One is gone, and others take part now; one bought another thing before the cutoff.
    names = activities["customer_id"].to_numpy()
    sampled = sorted(set(before["customer_id"].to_pylist()))
    one, gone = sampled[-3], sampled[0]
    values = activities["activity_type"].to_pylist()
    last = int(np.flatnonzero(names == one)[-1])
    values[last] = "ticket" if values[last] != "ticket" else "visit"
    activities = activities.set_column(5, "activity_type", pa.array(values)).filter(pa.array(names > gone))
    profiles = profiles.filter(pa.compute.greater(profiles["customer_id"], gone))
    taking_part = {datetime(2025, 1, 1): everybody[:90]}
    after = full("after.parquet", taking_part)
    drawn = set(after["customer_id"].to_pylist()) - set(sampled)

    asked = []
    for source in (controls.Embedder, MeanPool):

        def vectors(self, which, of=source.vectors):
            asked.append(len(which))
            return of(self, which)

        monkeypatch.setattr(source, "vectors", vectors)
    packed = pack(activities, profiles, bundle.encoding)
    write_control_embeddings(tmp_path / "changed.parquet", bundle, [packed], "cpu", known(), taking_part)
    assert sum(asked) == 2 * (1 + len(drawn))
    assert pq.read_table(tmp_path / "changed.parquet").equals(after)

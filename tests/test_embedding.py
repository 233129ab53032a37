"""Embedding: the same vector whatever else is embedded, in bounded memory, and only for who has changed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from caspr_train import embedding as embedding_module
from caspr_train import runs
from caspr_train.bundle import Bundle, shape_of
from caspr_train.config import preset
from caspr_train.embedding import Embedder, Known, embed, write_customer_embeddings, write_known
from caspr_train.encoding import Encoding
from caspr_train.model import Caspr
from caspr_train.packing import keys_of, pack, pack_folder
from caspr_train.runs import Marts, PackedCutoff, write_embeddings
from caspr_train.sequences import PackedSequences, _hash_rows
from tests.frames import SCHEMA, at, marts

AT, LATER = datetime(2025, 1, 1), datetime(2025, 2, 1)
NOW = datetime(2026, 1, 1)


def bundle_of(name: str = "default", **changes: int) -> Bundle:
    config = preset(name, sequence_length=7, **changes)
    encoding = Encoding(SCHEMA, config.number_transform, config.minimum_count).fit(*marts(200))
    torch.manual_seed(0)
    return Bundle("0123456789ab", config, encoding, Caspr(config, shape_of(encoding)).state_dict(), {}, {})


@pytest.mark.parametrize("name", ["default", "paper"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_vector_does_not_depend_on_what_is_embedded_beside_it(name, threads):
    bundle = bundle_of(name)
    sequences, _ = pack(*marts(700, seed=1), bundle.encoding)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected = embed(bundle, sequences)
        with Embedder(bundle, sequences) as embedder:
            shuffled = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(2))
            for which in (shuffled, torch.arange(13, 400, 3), *torch.tensor([[0], [255], [256], [699]])):
                np.testing.assert_array_equal(embedder.vectors(which), expected[which.numpy()])
            assert embedder.vectors(torch.arange(0)).shape == (0, bundle.model().width)
        assert torch.get_num_threads() == threads, "as it was before"
    finally:
        torch.set_num_threads(before)
    activities, profiles = marts(700, seed=1)
    alone = activities.filter(pa.compute.equal(activities["customer_id"], "c000412"))
    one, _ = pack(alone, profiles.slice(412, 1), bundle.encoding)
    np.testing.assert_array_equal(embed(bundle, one)[0], expected[412])


def test_the_hash_tells_apart_what_the_model_tells_apart_and_nothing_else():
    bundle = bundle_of()
    activities, profiles = marts(60, seed=3)

    def hashes(activities: pa.Table, profiles: pa.Table = profiles) -> np.ndarray:
        sequences, _ = pack(activities, profiles, bundle.encoding)
        with Embedder(bundle, sequences) as embedder:
            return embedder.windows.input_hash(torch.arange(len(sequences)))

    before = hashes(activities)
    assert len(set(before.tolist())) == 60 and (hashes(activities) == before).all()
    position = activities["position"].to_numpy()
    owner = np.cumsum(position == 1) - 1
    last = np.append(position[1:] == 1, True)
    old = (np.flatnonzero(last)[owner] - np.arange(len(owner))) >= 7
    assert old.any()

    def changed(rows: np.ndarray, name: str, value: object) -> set[int]:
        place = activities.schema.get_field_index(name)
        values = activities[name].to_pylist()
        for row in np.flatnonzero(rows):
            values[row] = value
        return set(np.flatnonzero(hashes(activities.set_column(place, name, pa.array(values))) != before).tolist())

    of_five = last & (owner == 5)
    assert changed(of_five, "activity_type", "never seen") == {5}
    assert changed(of_five, "amount", 7777.0) == {5} == changed(of_five, "seconds_before_cutoff", 0.5)
    assert changed(of_five, "seconds_since_previous", 1e6) == {5}
    assert changed(old, "activity_type", "never seen") == set(), "before the window nothing is seen"
    country = profiles.set_column(2, "country", pa.array(["??", *profiles["country"].to_pylist()[1:]]))
    assert np.flatnonzero(hashes(activities, country) != before).tolist() == [0]
    swapped = _hash_rows(np.array([[1, 2], [2, 1]], np.uint64))
    assert swapped[0] != swapped[1], "a place counts, not only what is there"
    # One activity, and the same one seven times over: padding is told from activities.
    once, twice = (activities.slice(0, 1).take(pa.array([0] * n)) for n in (1, 7))
    twice = twice.set_column(2, "position", pa.array(range(1, 8)))
    assert hashes(once, profiles.slice(0, 1)) != hashes(twice, profiles.slice(0, 1))


def folder_of(folder: Path, bundle: Bundle, activities: pa.Table, profiles: pa.Table) -> Path:
    pack_folder(folder, activities, profiles, bundle.encoding)
    return folder


def write(path: Path, bundle: Bundle, folders: list[Path], known: dict[datetime, Known] | None = None) -> int:
    packed = ((PackedSequences.load(folder), keys_of(folder)) for folder in folders)
    said = write_customer_embeddings(path, bundle, packed, NOW, "cpu", known)
    assert said.rows == pq.ParquetFile(path).metadata.num_rows
    return said.computed


def test_only_who_changed_is_embedded_and_the_file_is_that_of_a_full_run(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_module, "ROWS_A_GROUP", 64)  # borders between what is looked up at once
    bundle = bundle_of()
    activities, profiles = marts(300, seed=4)
    once = folder_of(tmp_path / "old", bundle, activities, profiles)
    assert write(tmp_path / "old.parquet", bundle, [once]) == 300
    old = pq.read_table(tmp_path / "old.parquet")
    assert pq.ParquetFile(tmp_path / "old.parquet").metadata.num_row_groups == 5

    # Nobody knows c000000 to c000009 any more, c000200 bought another thing, the profile of c000250 is another;
    # at a second cutoff nothing is known.
    names = activities["customer_id"].to_numpy()
    values = activities["activity_type"].to_pylist()
    last = int(np.flatnonzero(names == "c000200")[-1])
    values[last] = "ticket" if values[last] != "ticket" else "visit"
    activities = activities.set_column(5, "activity_type", pa.array(values)).filter(pa.array(names >= "c000010"))
    ages = profiles["age"].to_pylist()
    ages[250] += 30
    profiles = profiles.set_column(3, "age", pa.array(ages)).slice(10)
    # Both cutoffs together, as several train cutoffs are packed.
    two = [pa.concat_tables([rows, at(rows, LATER)]) for rows in (activities, profiles)]
    new = folder_of(tmp_path / "new", bundle, *two)
    write_known(tmp_path / "known.arrow", old.select(["customer_id", "input_hash", "embedding"]).to_batches(50))
    known = {AT: Known.load(tmp_path / "known.arrow")}
    assert write(tmp_path / "changed.parquet", bundle, [new], known) == 2 + 290
    assert write(tmp_path / "full.parquet", bundle, [new]) == 580
    assert pq.read_table(tmp_path / "changed.parquet").equals(pq.read_table(tmp_path / "full.parquet"))


def test_known_vectors_of_another_width_are_not_taken(tmp_path):
    bundle = bundle_of()
    folder = folder_of(tmp_path / "packed", bundle, *marts(20))
    write(tmp_path / "full.parquet", bundle, [folder])
    full = pq.read_table(tmp_path / "full.parquet").select(["customer_id", "input_hash", "embedding"])
    short = full.set_column(2, "embedding", pa.array([[1.0]] * 20, pa.list_(pa.float32())))
    write_known(tmp_path / "known.arrow", short.to_batches())
    assert write(tmp_path / "again.parquet", bundle, [folder], {AT: Known.load(tmp_path / "known.arrow")}) == 20


def test_a_failure_leaves_the_file_that_was_there(tmp_path):
    bundle = bundle_of()
    folder = folder_of(tmp_path / "packed", bundle, *marts(20))
    write(tmp_path / "full.parquet", bundle, [folder])
    before = (tmp_path / "full.parquet").read_bytes()

    def broken():
        yield PackedSequences.load(folder), keys_of(folder)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_customer_embeddings(tmp_path / "full.parquet", bundle, broken(), NOW)
    assert (tmp_path / "full.parquet").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full.parquet", "packed"]


def test_the_files_of_a_run_are_of_one_visit_to_the_marts(tmp_path, monkeypatch):
    """Broken off before the last of them is made, embedding leaves all as they were."""
    bundle, run = bundle_of(), tmp_path / "run"
    monkeypatch.setattr(runs, "_write_training_run", lambda bundle, path: path.write_text("finished"))

    def embed_all(customers: int) -> dict[str, bytes]:
        folder = folder_of(tmp_path / f"packed-{customers}", bundle, *marts(customers))
        write_embeddings(bundle, Marts(bundle.encoding, [PackedCutoff(AT, "evaluate", folder)], 0, None), run, "cpu")
        return {path.name: path.read_bytes() for path in run.iterdir()}

    before = embed_all(20)
    assert sorted(before) == sorted(f"{name}.parquet" for name in runs.EMBEDDED)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "write_control_embeddings", interrupted)
        embed_all(30)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert embed_all(40) != before

import subprocess
import sys
import threading
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from caspr_train import encoding as encoding_module
from caspr_train.config import preset
from caspr_train.encoding import Encoding
from caspr_train.errors import DataError
from caspr_train.files import scratch
from caspr_train.packing import count_customers, held_out, keys_of, pack, pack_folder
from caspr_train.sequences import (
    ALWAYS,
    MISSING,
    PAD,
    RESERVED,
    Batch,
    PackedSequences,
    batches,
    counted,
    load_split,
    write_packed,
)
from tests.frames import DAY, SCHEMA, marts, packed, windows_of

CONFIG = preset("default", sequence_length=5)


def test_the_window_at_the_cutoff_is_the_latest_t_aligned_to_the_right():
    activities, profiles = marts(40)
    encoding = Encoding(SCHEMA).fit(activities, profiles)
    sequences, keys = pack(activities, profiles, encoding)
    batch = windows_of(CONFIG, sequences, encoding).cut(torch.arange(len(sequences)))
    codes = encoding.categories("sequence", activities)
    owner = np.asarray(activities["customer_id"])
    for i, customer in enumerate(keys["customer_id"].to_pylist()):
        expected = codes[owner == customer][-5:]
        length = len(expected)
        assert batch.valid[i].tolist() == [False] * (5 - length) + [True] * length
        np.testing.assert_array_equal(batch.categories[i, 5 - length :].numpy(), expected)
        assert (batch.categories[i, : 5 - length] == PAD).all()


def test_a_window_holds_nothing_at_or_after_its_instant_and_the_future_nothing_before_it():
    sequences, encoding, _ = packed(CONFIG, customers=200)
    windows, cardinalities = windows_of(CONFIG, sequences, encoding), encoding.cardinalities("sequence")
    generator = torch.Generator().manual_seed(1)
    which = torch.arange(len(sequences))
    for _ in range(5):
        instant = windows.random_instants(generator)
        batch = windows.cut(which, instant)
        for i in range(len(sequences)):
            rows = slice(int(sequences.offsets[i]), int(sequences.offsets[i + 1]))
            age, money = sequences.age[rows].long(), sequences.money[rows]
            past = age > instant[i]
            assert past.any(), "every window holds at least one activity"
            assert int(batch.valid[i].sum()) == min(5, int(past.sum()))
            assert batch.categories[i, -1].tolist() == sequences.categories[rows][past][-1].tolist()
            following = sequences.categories[rows][~past]
            expected = following[0].tolist() if len(following) else [PAD, PAD]
            assert batch.next_categories[i].tolist() == expected
            for found, content, share in zip(batch.future[i], batch.content[i], (1, 1 / 4, 1 / 16), strict=True):
                horizon = share * 90 * DAY
                if instant[i] < horizon:
                    assert found.isnan().all(), "a horizon that passes the cutoff is not known"
                    assert content.isnan().all()
                    continue
                inside = ~past & (age > instant[i] - horizon)
                spent = float(money[inside].nan_to_num().sum())
                assert found.tolist() == pytest.approx(
                    [
                        float(inside.any()),
                        float((inside & ~money.isnan()).any()),
                        np.log1p(int(inside.sum())),
                        np.sign(spent) * np.log1p(abs(spent)),
                    ],
                    rel=1e-4,
                )
                means = sequences.numbers[rows][inside].float().nanmean(0)
                codes = sequences.categories[rows][inside].long()
                counts = [
                    torch.bincount(codes[:, place], minlength=n)[RESERVED:] for place, n in counted(cardinalities)
                ]
                assert len(counts) == 2, "activity types and products are few"
                torch.testing.assert_close(
                    content, torch.cat([means, *(one.float().log1p() for one in counts)]), equal_nan=True
                )


def test_an_activity_on_the_instant_belongs_to_the_future():
    sequences, encoding, _ = packed(CONFIG, customers=20)
    windows = windows_of(CONFIG, sequences, encoding)
    i = int(sequences.offsets.diff().argmax())
    age = sequences.age[int(sequences.offsets[i]) : int(sequences.offsets[i + 1])].long()
    batch = windows.cut(torch.tensor([i]), age[3:4])
    assert int(batch.valid.sum()) == 3
    assert batch.next_categories[0].tolist() == sequences.categories[int(sequences.offsets[i]) + 3].tolist()


def test_a_window_that_ends_before_the_profile_began_sees_none():
    activities, profiles = marts(200)
    encoding = Encoding(SCHEMA).fit(activities, profiles)
    undated, _ = pack(activities, profiles, encoding)
    ages = [None, 0.5, 30 * DAY + 0.5, 300 * DAY, 100_000 * DAY]
    began = [None if age is None else datetime(2025, 1, 1) - timedelta(seconds=age) for age in ages] * 40
    place = profiles.column_names.index("profile_began_at")
    dated = profiles.set_column(place, "profile_began_at", pa.array(began, pa.timestamp("us")))
    sequences, _ = pack(activities, dated, encoding)
    assert sequences.profile_age[:5].tolist() == [ALWAYS, 1, 30 * DAY + 1, 300 * DAY, ALWAYS]
    windows, plain = (windows_of(CONFIG, one, encoding) for one in (sequences, undated))
    which = torch.arange(200)
    same_tensors(windows.cut(which), plain.cut(which))
    # The end of a window is itself outside it: what began on it is not known.
    for instant in (torch.full((200,), int(30 * DAY)), torch.full((200,), int(30 * DAY) + 1)):
        batch, all_seen = windows.cut(which, instant), plain.cut(which, instant)
        unknown = torch.tensor([age is not None and np.ceil(age) <= int(instant[0]) for age in ages] * 40)
        assert unknown[:5].tolist() == [False, True, instant[0] > 30 * DAY, False, False]
        assert (batch.profile_categories[unknown] == MISSING).all() and batch.profile_numbers[unknown].isnan().all()
        same_tensors(batch.map(lambda tensor, known=~unknown: tensor[known]), all_seen.map(lambda t, k=~unknown: t[k]))


def test_packing_refuses_tables_of_different_builds_and_rows_after_the_cutoff():
    activities, profiles = marts(10)
    encoding = Encoding(SCHEMA).fit(activities, profiles)
    with pytest.raises(DataError, match="customer_profiles has 9 rows and activity_sequences 10"):
        pack(activities, profiles.slice(1), encoding)
    late = activities.set_column(4, "seconds_before_cutoff", pa.array(np.zeros(len(activities))))
    with pytest.raises(DataError, match="at or after their cutoff"):
        pack(late, profiles, encoding)
    with pytest.raises(DataError, match="position does not count"):
        pack(activities.slice(1), profiles, encoding)
    with pytest.raises(DataError, match="no rows"):
        pack(activities.slice(0, 0), profiles, encoding)


def test_a_customer_is_held_out_or_not_whatever_else_is_there():
    names = pa.array([f"c{i}" for i in range(5000)])
    out = held_out(names, 0.1)
    assert 0.08 < out.mean() < 0.12
    np.testing.assert_array_equal(out[100:200], held_out(names.slice(100, 100), 0.1))


def same_tensors(one: PackedSequences | Batch, other: PackedSequences | Batch) -> None:
    for f in fields(one):
        first, second = getattr(one, f.name), getattr(other, f.name)
        assert first.dtype == second.dtype and torch.allclose(first, second, rtol=0, atol=0, equal_nan=True), f.name


def in_batches(table: pa.Table, seed: int) -> list[pa.RecordBatch]:
    """The rows in batches of uneven size, some of none."""
    borders = np.sort(np.random.default_rng(seed).integers(0, len(table) + 1, 9)).tolist()
    pieces = zip([0, *borders], [*borders, len(table)], strict=True)
    return [batch for start, end in pieces for batch in table.slice(start, end - start).combine_chunks().to_batches()]


def test_what_is_fitted_and_packed_does_not_depend_on_the_borders_of_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding_module, "CHUNK", 64)  # sequences that lie across many pieces
    activities, profiles = marts(300)
    encoding = Encoding(SCHEMA).fit(activities, profiles)
    expected, keys = pack(activities, profiles, encoding)
    for seed in range(3):
        again = Encoding(SCHEMA).fit(in_batches(activities, seed), in_batches(profiles, seed))
        assert again.as_dict() == encoding.as_dict()
        folder = tmp_path / str(seed)
        pack_folder(folder, in_batches(activities, seed), in_batches(profiles, seed), again, 0.2)
        same_tensors(PackedSequences.load(folder), expected)
        assert keys_of(folder).equals(keys)
        np.testing.assert_array_equal(load_split(folder)[1].numpy(), held_out(keys["customer_id"], 0.2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


def test_streams_are_refused_for_the_same_reasons_and_leave_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding_module, "CHUNK", 16)
    activities, profiles = marts(30)
    encoding = Encoding(SCHEMA).fit(activities, profiles)
    age = activities["seconds_before_cutoff"].to_numpy().copy()
    age[-3:] = 0
    late = activities.set_column(4, "seconds_before_cutoff", pa.array(age))
    other = profiles.set_column(0, "customer_id", pa.array([*profiles["customer_id"].to_pylist()[:-1], "zz"]))
    for rows, people, message in (
        (late, profiles, "3 rows lie at or after"),
        (activities, other, "customer_profiles has 30 rows and activity_sequences 30 sequences, or not the same ones"),
        (activities, profiles.slice(0, 29), "has 29 rows and activity_sequences 30"),
        (activities.slice(1), profiles, "position does not count"),
        (activities.slice(0, 0), profiles, "no rows to pack"),
    ):
        with pytest.raises(DataError, match=message):
            pack_folder(tmp_path / "packed", in_batches(rows, 1), in_batches(people, 2), encoding, 0.1)
        assert list(tmp_path.iterdir()) == []


def test_a_saved_folder_is_mapped_and_equals_what_was_saved(tmp_path):
    sequences, _, keys = packed(CONFIG)
    out = torch.from_numpy(held_out(keys["customer_id"], 0.1))
    sequences.save(tmp_path / "packed", out)
    again = PackedSequences.load(tmp_path / "packed")
    same_tensors(again, sequences)
    assert torch.equal(load_split(tmp_path / "packed")[1], out)
    assert str(tmp_path / "packed" / "categories.npy") in Path("/proc/self/maps").read_text(), "mapped, not read"
    same_tensors(
        windows_of(CONFIG, again, _).cut(torch.arange(9)), windows_of(CONFIG, sequences, _).cut(torch.arange(9))
    )


@pytest.mark.parametrize("name", ["categories", "age", "offsets", "profile_numbers", "held_out"])
def test_a_packed_file_that_was_cut_short_or_is_gone_is_named(tmp_path, name):
    sequences, _, _ = packed(CONFIG, customers=20)
    sequences.save(tmp_path, torch.zeros(20, dtype=torch.bool))
    path = tmp_path / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-1])
    for _ in range(2):
        with pytest.raises(DataError, match=f"{name}.npy cannot be read"):
            PackedSequences.load(tmp_path)
            load_split(tmp_path)
        path.unlink(missing_ok=True)


def test_packed_files_of_two_builds_are_told_apart(tmp_path):
    for folder, customers in ((tmp_path / "one", 20), (tmp_path / "two", 21)):
        packed(CONFIG, customers=customers)[0].save(folder)
    (tmp_path / "one" / "money.npy").rename(tmp_path / "two" / "money.npy")
    with pytest.raises(DataError, match=r"money.npy has \d+ rows, expected \d+"):
        PackedSequences.load(tmp_path / "two")


def test_an_error_while_packing_leaves_what_was_there(tmp_path):
    sequences, _, _ = packed(CONFIG, customers=20)
    sequences.save(tmp_path / "packed")
    with pytest.raises(RuntimeError), write_packed(tmp_path / "packed") as (_, append):
        append("age", np.zeros(3, np.int32))
        raise RuntimeError
    same_tensors(PackedSequences.load(tmp_path / "packed"), sequences)
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]


def test_batches_read_ahead_are_those_of_a_resident_run():
    sequences, encoding, _ = packed(CONFIG)
    windows = windows_of(CONFIG, sequences, encoding)
    instants = windows.random_instants(torch.Generator().manual_seed(3))
    cuts = [(which, instants[which]) for which in torch.randperm(len(sequences)).split(7)]
    cpu = torch.device("cpu")
    resident, ahead = list(batches(windows, cuts, cpu)), list(batches(windows, iter(cuts), cpu, ahead=3))
    assert len(resident) == len(ahead) == len(cuts)
    for one, other, cut in zip(resident, ahead, cuts, strict=True):
        same_tensors(one, other)
        same_tensors(one, windows.cut(*cut))


def test_an_error_while_reading_ahead_comes_with_its_batch_and_no_thread_is_left():
    sequences, encoding, _ = packed(CONFIG)
    windows = windows_of(CONFIG, sequences, encoding)
    good, bad = torch.arange(5), torch.tensor([10_000])
    reading = batches(windows, [(good, good), (good, good), (bad, bad), (good, good)], torch.device("cpu"), ahead=2)
    same_tensors(next(reading), windows.cut(good, good))
    next(reading)
    with pytest.raises(IndexError):
        next(reading)
    stopped = batches(windows, ((good, good) for _ in range(1000)), torch.device("cpu"), ahead=2)
    next(stopped)
    stopped.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "caspr_train.batches"]


def test_the_bisection_finds_what_counting_finds():
    sequences, encoding, _ = packed(CONFIG, customers=150, longest=64)
    windows = windows_of(CONFIG, sequences, encoding)
    which = torch.arange(len(sequences))
    age = sequences.age.long()
    for instant in (
        which * 0 - 1,
        which * 0,
        which * 0 + 2**31,
        age[sequences.offsets[1:] - 1],
        windows.oldest_age().long(),
    ):
        found = windows._rows_before(which, instant) - sequences.offsets[:-1]
        own = zip(sequences.offsets, sequences.offsets[1:], instant, strict=False)
        counted = [int((age[start:end] > at).sum()) for start, end, at in own]
        assert found.tolist() == counted


def test_one_absurd_amount_leaves_the_others_money_as_it_is():
    activities, profiles = marts(50)
    encoding = Encoding(SCHEMA).fit(activities, profiles)
    amounts = activities["amount"].to_numpy().copy()
    expected, _ = pack(activities, profiles, encoding)
    first = int(np.flatnonzero(~np.isnan(amounts))[0])
    amounts[first] = 1e101
    absurd, _ = pack(activities.set_column(7, "amount", pa.array(amounts)), profiles, encoding)
    which = torch.arange(len(absurd))
    owner = int((absurd.offsets <= first).sum()) - 1
    plain, odd = (
        windows_of(CONFIG, s, encoding).cut(which, windows_of(CONFIG, s, encoding).oldest_age().long())
        for s in (expected, absurd)
    )
    others = (which != owner) & ~plain.future.flatten(1).isnan().any(1)
    assert others.sum() > 10 and torch.equal(plain.future[others], odd.future[others])
    assert not odd.future.isinf().any()


def test_a_single_customer_and_a_window_of_one(tmp_path):
    activities, profiles = marts(1)
    encoding = Encoding(SCHEMA).fit(activities, profiles)
    pack_folder(tmp_path / "packed", activities, profiles, encoding, 0.999)
    assert load_split(tmp_path / "packed")[1].tolist() == [False], "there would be no customer to fit on"
    sequences, one = PackedSequences.load(tmp_path / "packed"), preset("default", sequence_length=1)
    batch = windows_of(one, sequences, encoding).cut(torch.tensor([0]))
    assert batch.valid.tolist() == [[True]] and torch.equal(batch.categories[0, 0], sequences.categories[-1].long())


def test_customers_are_counted_once_over_all_their_sequences():
    keys = pa.table({"customer_id": ["a", "b", "a", "c"], "cutoff_at": pa.array([0, 0, 1, 1], pa.timestamp("us"))})
    assert count_customers(keys, np.array([True, True, True, False])) == 2


def test_a_scratch_folder_goes_with_its_process_and_one_in_use_stays(tmp_path):
    runs = tmp_path / "runs"
    code = (
        "import os, sys; from pathlib import Path; from caspr_train.files import scratch\n"
        "with scratch(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'secret').write_text('x'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(runs)], check=False)
    (left,) = runs.iterdir()
    assert (left / "secret").is_file()
    with scratch(runs) as one:
        assert list(runs.iterdir()) == [one], "what a killed process left is gone"
        with scratch(runs) as two:
            assert sorted(runs.iterdir()) == sorted([one, two])
    assert list(runs.iterdir()) == []
    runs.rmdir()
    with scratch(runs):
        pass
    assert not runs.exists(), "nothing was made, nothing is left"


def test_runs_that_cannot_be_written_are_one_line(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(DataError, match=r"cannot be written .*name another with --runs"), scratch(tmp_path / "runs"):
        pass


def test_windows_are_cut_without_a_question_to_the_device():
    sequences, encoding, _ = packed(CONFIG, customers=50)
    windows, which = windows_of(CONFIG, sequences, encoding), torch.arange(50)
    instants = windows.random_instants(torch.Generator().manual_seed(1))
    here = windows.cut(which, instants)
    # It knows shapes and no values: as on a GPU, an answer would have to be waited for, and here there is none.
    meta = torch.device("meta")
    windows.sequences = sequences.to(meta)
    there = windows.cut(which.to(meta), instants.to(meta))
    for field in fields(Batch):
        assert getattr(there, field.name).shape == getattr(here, field.name).shape


@pytest.mark.parametrize("size", [256, 20, 1])
def test_windows_of_one_length_go_together_without_their_padding(size):
    sequences, encoding, _ = packed(CONFIG, customers=200)
    windows = windows_of(CONFIG, sequences, encoding)
    whole = windows.cut(torch.arange(200), windows.random_instants(torch.Generator().manual_seed(1)))
    pieces = whole.by_length(size, worth=30)
    assert torch.equal(torch.cat([which for _, which in pieces]).sort()[0], torch.arange(200))
    for piece, which in pieces:
        t = piece.valid.shape[1]
        assert len(which) <= size and piece.valid.any(0).all() and int(whole.valid[which].sum()) == piece.valid.sum()
        for field in fields(Batch):
            expected = getattr(whole, field.name)[which]
            if field.name in ("categories", "numbers", "days_before", "valid"):
                expected = expected[:, -t:]
            torch.testing.assert_close(getattr(piece, field.name), expected, rtol=0, atol=0, equal_nan=True)
    assert sum(piece.valid.numel() for piece, _ in pieces) < whole.valid.numel()
    assert len(whole.by_length(256, worth=10**6)) == 1, "nothing is halved that is not worth it"


def test_values_are_counted_of_the_marked_sequences(monkeypatch):
    monkeypatch.setattr("caspr_train.sequences.SLICE", 7)
    sequences, _, _ = packed(CONFIG, customers=40)
    of = torch.arange(40) % 3 == 0
    rows = of.repeat_interleave(sequences.offsets.diff())
    for place, counts in enumerate(sequences.count_values(of, [10, 60])):
        expected = torch.bincount(sequences.categories[rows][:, place], minlength=(10, 60)[place])
        assert torch.equal(counts, expected) and counts.sum() == rows.sum()

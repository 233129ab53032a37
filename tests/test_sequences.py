import numpy as np
import pyarrow as pa
import pytest
import torch

from caspr_train.config import preset
from caspr_train.encoding import Encoding
from caspr_train.errors import DataError
from caspr_train.packing import held_out, pack
from caspr_train.sequences import PAD
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
    windows = windows_of(CONFIG, sequences, encoding)
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
            if instant[i] < 90 * DAY:
                assert batch.future[i].isnan().all(), "a horizon that passes the cutoff is not known"
            else:
                inside = ~past & (age > instant[i] - 90 * DAY)
                spent = float(money[inside].nan_to_num().sum())
                assert batch.future[i].tolist() == pytest.approx(
                    [
                        float(inside.any()),
                        float((inside & ~money.isnan()).any()),
                        np.log1p(int(inside.sum())),
                        np.sign(spent) * np.log1p(abs(spent)),
                    ],
                    rel=1e-4,
                )


def test_an_activity_on_the_instant_belongs_to_the_future():
    sequences, encoding, _ = packed(CONFIG, customers=20)
    windows = windows_of(CONFIG, sequences, encoding)
    i = int(sequences.offsets.diff().argmax())
    age = sequences.age[int(sequences.offsets[i]) : int(sequences.offsets[i + 1])].long()
    batch = windows.cut(torch.tensor([i]), age[3:4])
    assert int(batch.valid.sum()) == 3
    assert batch.next_categories[0].tolist() == sequences.categories[int(sequences.offsets[i]) + 3].tolist()


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

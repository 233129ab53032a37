import json

import numpy as np
import pyarrow as pa
import pytest

from caspr_train import encoding as encoding_module
from caspr_train.encoding import Counts, Encoding, Scaler, Vocabulary
from caspr_train.errors import DataError
from caspr_train.packing import pack
from caspr_train.schema import Attribute, Schema
from caspr_train.sequences import MISSING, RESERVED, UNK
from tests.frames import SCHEMA, marts


def test_codes_follow_frequency_and_ties_follow_the_value():
    column = pa.array(["b", "a", "c", "b", "a", None, "ü"])
    vocabulary = Vocabulary().fit(column)
    assert vocabulary.values_ == ["a", "b", "c", "ü"]
    assert vocabulary.transform(pa.array(["ü", "a", None, "never seen"])).tolist() == [
        RESERVED + 3,
        RESERVED,
        MISSING,
        UNK,
    ]


def test_a_rare_value_is_unknown():
    vocabulary = Vocabulary(minimum_count=2).fit(pa.array(["a", "a", "b"]))
    assert vocabulary.transform(pa.array(["a", "b"])).tolist() == [RESERVED, UNK]
    assert len(vocabulary) == RESERVED + 1


def test_codes_are_wide_enough_for_many_values():
    values = pa.array([f"v{i}" for i in range(40_000)])
    codes = Vocabulary().fit(values).transform(values)
    assert codes.dtype == np.int32 and codes.max() == 40_000 + RESERVED - 1 and len(set(codes.tolist())) == 40_000


@pytest.mark.parametrize("name", ["identity", "signed_log"])
def test_a_scaler_standardises_and_keeps_missing_apart(name):
    values = np.array([1.0, -2.0, 300.0, np.nan, np.inf])
    scaled = Scaler(name).fit(values).transform(values)
    assert np.isnan(scaled[3:]).all() and np.isfinite(scaled[:3]).all()
    assert abs(scaled[:3].mean()) < 1e-6 and abs(scaled[:3].std() - 1) < 1e-6


def test_a_constant_or_empty_column_scales_to_zero_or_missing():
    assert Scaler().fit(np.full(3, 7.0)).transform(np.array([7.0, 8.0])).tolist() == [0.0, 1.0]
    assert np.isnan(Scaler().fit(np.array([np.nan])).transform(np.array([np.nan]))).all()


def test_pieces_are_merged_to_what_the_whole_gives():
    values = np.random.default_rng(0).lognormal(3, 2, 1000) + 1e6
    whole, pieces = Scaler().fit(values), Scaler()
    for part in np.split(values, [1, 1, 400]):
        pieces.add(part)
    pieces.fit_added()
    assert pieces.mean_ == pytest.approx(values.mean(), rel=1e-14) and whole.mean_ == values.mean()
    assert pieces.scale_ == pytest.approx(values.std(), rel=1e-12) and whole.scale_ == pytest.approx(values.std())
    words, counts = pa.array([f"v{i % 17}" for i in range(1000)] + [None]), Counts()
    for start in range(0, 1001, 100):
        counts.add(words.slice(start, 100))
    assert Vocabulary(59).fit_counts(counts).values_ == Vocabulary(59).fit(words).values_ != []


def test_equal_values_scale_by_one_whatever_their_last_bits():
    scaler = Scaler().fit(np.full(1000, 0.1))
    assert scaler.scale_ == 1.0 and abs(scaler.transform(np.array([0.1]))).max() < 1e-6


def test_numbers_whose_squares_are_infinite_stay_finite():
    scaler = Scaler().fit(np.array([1e300, -1e300, 1.0, 2.0]))
    assert np.isfinite([scaler.mean_, scaler.scale_]).all()
    assert np.isfinite(scaler.transform(np.array([1e300, 1.0]))).all()


def test_more_values_than_codes_are_named_with_their_attribute(monkeypatch):
    monkeypatch.setattr(encoding_module, "MOST_CODES", 20)
    with pytest.raises(DataError, match="the sequence attribute product has 20 values, expected at most 17; leave"):
        Encoding(SCHEMA).fit(*marts(200))


def test_attributes_that_are_null_or_constant_everywhere():
    activities, profiles = marts(20)
    rows = len(activities)
    activities = activities.set_column(6, "product", pa.nulls(rows, pa.string()))
    activities = activities.set_column(7, "amount", pa.nulls(rows, pa.float64()))
    profiles = profiles.set_column(2, "country", pa.repeat("DE", 20)).set_column(3, "age", pa.repeat(0.1, 20))
    encoding = Encoding(SCHEMA).fit(activities, profiles)
    assert encoding.cardinalities("sequence")[1] == RESERVED and encoding.cardinalities("profile") == [RESERVED + 1]
    assert np.isnan(encoding.numbers("sequence", activities)[:, 1]).all()
    assert abs(encoding.numbers("profile", profiles)).max() < 1e-6
    sequences, _ = pack(activities, profiles, encoding)
    assert (sequences.categories[:, 1] == MISSING).all() and sequences.money.isnan().all()


def test_numbers_that_are_not_finite_are_counted_and_nulls_are_not():
    activities, profiles = marts(5)
    encoding = Encoding(SCHEMA).fit(activities, profiles)
    column = pa.array([1.0, None, float("nan"), float("inf"), -float("inf")])
    table = activities.slice(0, 5).set_column(activities.schema.get_field_index("amount"), "amount", column)
    numbers = encoding.numbers("sequence", table)
    assert encoding.not_finite_ == {"sequence.amount": 3}
    assert np.isnan(numbers[1:, 1]).all() and np.isfinite(numbers[0, 1])


def test_what_was_fitted_survives_json():
    activities, profiles = marts(50)
    encoding = Encoding(SCHEMA, "signed_log", 2).fit(activities, profiles)
    again = Encoding.from_dict(SCHEMA, json.loads(json.dumps(encoding.as_dict())))
    for scope, table in (("sequence", activities), ("profile", profiles)):
        np.testing.assert_array_equal(encoding.categories(scope, table), again.categories(scope, table))
        np.testing.assert_array_equal(encoding.numbers(scope, table), again.numbers(scope, table))


def test_the_schema_says_in_which_attributes_it_differs():
    other = Schema((*SCHEMA.attributes[:-1], Attribute("age", "profile", "categorical", None, "age")))
    with pytest.raises(DataError, match="profile age is numerical from column age in the bundle and categorical"):
        SCHEMA.expect_same(other, "runs/x")
    with pytest.raises(DataError, match="profile age only in the bundle"):
        SCHEMA.expect_same(Schema(SCHEMA.attributes[:-1]), "runs/x")

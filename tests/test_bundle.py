import json

import numpy as np
import pytest

from caspr_train.bundle import Bundle, shape_of
from caspr_train.config import preset
from caspr_train.embedding import embed
from caspr_train.encoding import Encoding
from caspr_train.errors import DataError
from caspr_train.model import Caspr
from caspr_train.packing import pack
from caspr_train.sequences import RESERVED, UNK
from tests.frames import SCHEMA, marts


@pytest.fixture
def bundle():
    config = preset("default")
    encoding = Encoding(SCHEMA, config.number_transform, config.minimum_count).fit(*marts(50))
    weights = Caspr(config, shape_of(encoding)).state_dict()
    return Bundle("0123456789ab", config, encoding, weights, {"train_loss": 1.0}, {"processes": 1})


def test_a_bundle_that_was_saved_embeds_the_same(bundle, tmp_path):
    bundle.save(tmp_path / "bundle")
    again = Bundle.load(tmp_path / "bundle")
    sequences, _ = pack(*marts(30, seed=1), bundle.encoding)
    vectors = embed(bundle, sequences)
    assert vectors.shape == (30, bundle.config.embedding_width) and np.isfinite(vectors).all()
    np.testing.assert_array_equal(vectors, embed(again, sequences))
    assert (again.config, again.schema, again.metrics, again.lineage) == (
        bundle.config,
        bundle.schema,
        bundle.metrics,
        bundle.lineage,
    )


def test_a_bundle_is_safetensors_and_json_and_nothing_else(bundle, tmp_path):
    bundle.save(tmp_path / "bundle")
    assert sorted(f.name for f in (tmp_path / "bundle").iterdir()) == ["bundle.json", "weights.safetensors"]
    assert [f.name for f in tmp_path.iterdir()] == ["bundle"]
    assert json.loads((tmp_path / "bundle" / "bundle.json").read_text())["schema"][1]["role"] == "item"


def test_what_is_no_bundle_or_was_changed_is_refused(bundle, tmp_path):
    with pytest.raises(DataError, match="is no bundle"):
        Bundle.load(tmp_path)
    bundle.save(tmp_path / "bundle")
    weights = tmp_path / "bundle" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(DataError, match="does not match the checksum"):
        Bundle.load(tmp_path / "bundle")


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 99}', "\udcff"])
def test_a_damaged_description_is_one_line(bundle, tmp_path, text):
    bundle.save(tmp_path / "bundle")
    (tmp_path / "bundle" / "bundle.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="train again") as raised:
        Bundle.load(tmp_path / "bundle")
    assert "\n" not in str(raised.value)


def test_a_value_never_seen_adds_nothing(bundle):
    table = bundle.model().events.attributes.tables[0].weight
    assert not table[UNK].any() and table[RESERVED:].any()


def test_values_never_seen_numbers_gone_and_profiles_missing_are_embedded(bundle):
    activities, profiles = marts(5)
    rows, nothing = len(activities), [None] * 5
    activities = activities.set_column(5, "activity_type", [["never seen"] * rows])
    activities = activities.set_column(7, "amount", [[float("inf")] * rows])
    profiles = profiles.set_column(2, "country", [np.array(nothing, dtype=object)])
    sequences, _ = pack(activities, profiles, bundle.encoding)
    assert np.isfinite(embed(bundle, sequences)).all()

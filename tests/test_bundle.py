import json
import subprocess
import sys

import numpy as np
import pytest

from caspr_train.bundle import Bundle, shape_of
from caspr_train.cli import main
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
    assert vectors.shape == (30, bundle.model().width) and np.isfinite(vectors).all()
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


def test_what_is_no_bundle_or_lost_a_file_is_refused(bundle, tmp_path):
    with pytest.raises(DataError, match="is no bundle"):
        Bundle.load(tmp_path)
    for name in ("weights.safetensors", "bundle.json"):
        bundle.save(tmp_path / "bundle")
        (tmp_path / "bundle" / name).unlink()
        with pytest.raises(DataError, match="is no bundle: expected a folder with"):
            Bundle.load(tmp_path / "bundle")


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b""])
def test_weights_that_were_changed_or_cut_short_are_refused(bundle, tmp_path, change):
    bundle.save(tmp_path / "bundle")
    weights = tmp_path / "bundle" / "weights.safetensors"
    weights.write_bytes(change(weights.read_bytes()))
    with pytest.raises(DataError, match="does not match the checksum"):
        Bundle.load(tmp_path / "bundle")


def swap_two_values(saved):
    values = saved["encoding"]["vocabularies"]["sequence.product"]
    values[0], values[1] = values[1], values[0]


@pytest.mark.parametrize(
    "change",
    [
        swap_two_values,
        lambda saved: saved["encoding"]["scalers"]["sequence.amount"].update(mean=0.0),
        lambda saved: saved["lineage"].update(git_commit="another"),
        lambda saved: saved["config"].update(heads=4),
        lambda saved: saved["schema"].pop(),
        lambda saved: saved.update(weights_sha256="0" * 64),
        lambda saved: saved.pop("metrics"),
        lambda saved: saved.update(added=1),
    ],
)
def test_a_description_that_was_edited_is_refused(bundle, tmp_path, change):
    """Most of these would load without it, and embed: to other vectors."""
    bundle.save(tmp_path / "bundle")
    file = tmp_path / "bundle" / "bundle.json"
    saved = json.loads(file.read_text())
    file.write_text(json.dumps(saved))  # another layout is no change
    Bundle.load(tmp_path / "bundle")
    change(saved)
    file.write_text(json.dumps(saved))
    with pytest.raises(DataError, match=r"bundle.json does not match its own checksum: it was changed"):
        Bundle.load(tmp_path / "bundle")


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"format": 4}', "KeyError: 'sha256'"),
        ("\udcff", "damaged"),
        ('{"format": 99}', "format 99, this version reads 4; it was written by a newer version"),
        ('{"format": 3}', "format 3, this version reads 4; delete it and train again"),
    ],
)
def test_a_damaged_description_is_one_line(bundle, tmp_path, text, said):
    bundle.save(tmp_path / "bundle")
    (tmp_path / "bundle" / "bundle.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=said) as raised:
        Bundle.load(tmp_path / "bundle")
    assert "\n" not in str(raised.value)


def test_a_description_cut_short_is_refused(bundle, tmp_path):
    bundle.save(tmp_path / "bundle")
    file = tmp_path / "bundle" / "bundle.json"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="damaged"):
        Bundle.load(tmp_path / "bundle")


def test_a_save_that_fails_leaves_the_old_bundle_whole(bundle, tmp_path):
    bundle.save(tmp_path / "bundle")
    broken = Bundle(**{**vars(bundle), "metrics": {"not": object()}})
    with pytest.raises(TypeError):
        broken.save(tmp_path / "bundle")
    assert [f.name for f in tmp_path.iterdir()] == ["bundle"]
    assert Bundle.load(tmp_path / "bundle").metrics == bundle.metrics


def test_whoever_asks_for_no_bundle_waits_for_no_torch():
    script = (
        "import sys, caspr_train; assert 'torch' not in sys.modules and 'pandas' not in sys.modules;"
        "from caspr_train import Bundle; assert 'torch' in sys.modules;"
        "assert Bundle is __import__('caspr_train.bundle').bundle.Bundle"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


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


def test_without_the_extra_the_export_says_what_to_install(bundle, tmp_path, monkeypatch, capsys):
    bundle.save(tmp_path / "bundle")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", "--onnx", "--bundle", str(tmp_path / "bundle")]) == 2
    said = capsys.readouterr().err
    assert "not installed: onnx, onnxscript. Run `pip install 'caspr-train[export]'`" in said and said.count("\n") == 1
    assert [f.name for f in tmp_path.iterdir()] == ["bundle"]


def test_info_says_where_a_bundle_comes_from_what_it_reads_and_what_it_learnt(bundle, tmp_path, capsys):
    bundle.config = preset("default", epochs=3, sequence_length=12)
    bundle.weights = Caspr(bundle.config, shape_of(bundle.encoding)).state_dict()
    bundle.lineage = {"dbt_invocation_id": "7c0a", "git_commit": None, "data_watermark_at": "2024-12-31T23:59:00"}
    attributes = {"product": {"cross_entropy": 1.23456, "entropy": 2.5}}
    history = [{"epoch": 1, "train_loss": 9.0}, {"epoch": 2, "train_loss": 8.0}]
    bundle.metrics = {
        "customers": 12345,
        "validation": {"attributes": attributes, "masked": [1.0, 2.0]},
        "history": history,
    }
    bundle.save(tmp_path / "bundle")
    assert main(["info", str(tmp_path / "bundle")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for wanted in (
        f"bundle {tmp_path / 'bundle'} model_version 0123456789ab",
        f"weights {sum(w.numel() for w in bundle.weights.values()):,} (0.",
        "dbt_invocation_id 7c0a git_commit none data_watermark_at 2024-12-31T23:59:00",
        "config: preset default sequence_length 12 epochs 3 (preset: none) reads of a sequence",
        "product categorical, role item, 20 values seen 2 times or more, the most frequent 'p",
        "amount numerical, role monetary, signed_log, mean ",
        "country categorical, 3 values seen 2 times or more",
        "seconds_since_previous numerical, in days, signed_log, mean ",
        "customers 12,345 validation.attributes.product.cross_entropy 1.235 validation.attributes.product.entropy 2.5",
        "validation.masked 1 2 history[1].epoch 2 history[1].train_loss 8",  # of another length than the attributes
    ):
        assert wanted in said
    assert "learnt" not in said
    assert "hidden" not in said  # as in the preset


def test_info_puts_what_was_learnt_of_each_attribute_beside_what_frequencies_alone_give(bundle, tmp_path, capsys):
    validation = {"loss": 1.5, "masked": None, "next": [0.1, 0.2, 0.3, 0.4], "next_baseline": [1.0, 2.0, 3.0, 4.0]}
    bundle.metrics = {"validation": validation, "history": []}
    bundle.save(tmp_path / "bundle")
    assert main(["info", str(tmp_path / "bundle")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "metrics validation.loss 1.5 history none learnt of held-out customers" in said
    for row in (
        "activity_type next 0.1 next_baseline 1 product",
        "product next 0.2 next_baseline 2 seconds_since_previous",
        "seconds_since_previous next 0.3 next_baseline 3 amount",
        "amount next 0.4 next_baseline 4",
    ):
        assert row in said


def test_info_of_what_is_no_bundle_and_of_no_run(tmp_path, capsys):
    assert main(["info", str(tmp_path)]) == 1
    assert "is no bundle" in capsys.readouterr().err
    assert main(["info", "--runs", str(tmp_path)]) == 1
    assert f"no embeddings in {tmp_path}" in capsys.readouterr().err

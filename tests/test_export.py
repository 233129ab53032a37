"""`export --onnx`: what ONNX Runtime makes of the exported model and its description is what the bundle makes."""

import dataclasses
import datetime as dt
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from caspr_train import export
from caspr_train.bundle import Bundle, shape_of
from caspr_train.cli import main
from caspr_train.config import preset
from caspr_train.encoding import Encoding
from caspr_train.frames import activities_of, latest, profiles_of
from caspr_train.model import Caspr
from caspr_train.schema import Attribute, Schema
from tests.frames import restless

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'caspr-train[export]' onnxruntime")

CUTOFF = dt.datetime(2025, 1, 1)
SCHEMA = Schema(
    (
        Attribute("activity_type", "sequence", "categorical", None, "activity_type"),
        Attribute("product", "sequence", "categorical", "item", "product"),
        Attribute("gift", "sequence", "categorical", None, "gift"),
        Attribute("amount", "sequence", "numerical", "monetary", "amount"),
        Attribute("amount_relative", "sequence", "numerical", None, "amount_relative"),
        Attribute("country", "profile", "categorical", None, "country"),
        Attribute("age", "profile", "numerical", None, "age"),
    )
)
BARE = Schema(SCHEMA.attributes[:1])  # an activity type and the time; no profile


def shop(seed: int, customers: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Activities and profiles: texts, booleans, nulls, ties, some at and after the cutoff, 1 to 30 of a customer."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(customers), [1, 30, *rng.integers(1, 25, customers - 2)])
    n = len(owner)
    activities = pd.DataFrame(
        {
            "customer_id": [f"kundin {i}" for i in owner],
            "occurred_at": CUTOFF - pd.to_timedelta(rng.integers(1, 400 * 24, n), unit="h"),
            "stream_rank": rng.integers(1, 3, n),
            "activity_id": [f"a{i}" for i in rng.permutation(n)],
            "activity_type": rng.choice(["order", "visit", "größe, \"ß\" 'x'\n", "日本"], n),
            "product": [None if rng.random() < 0.3 else f"p{rng.integers(20)}" for _ in range(n)],
            "gift": rng.choice([True, False], n),
            "amount": np.where(rng.random(n) < 0.2, np.nan, np.round(rng.lognormal(3, 1, n) - 5, 2)),
        }
    )
    several = activities.groupby("customer_id").cumcount() > 0
    tied = several & (rng.random(n) < 0.3)  # at the instant of the row before it, which is the same customer's
    activities["occurred_at"] = activities.occurred_at.mask(tied).ffill()
    profiles = pd.DataFrame(
        {
            "customer_id": [f"kundin {i}" for i in range(customers)],
            "country": rng.choice(["DE", "FR"], customers),
            "age": rng.normal(40, 10, customers),
        }
    )
    return activities, profiles


def bundle_of(name: str, schema: Schema, **changes) -> Bundle:
    config = preset(name, **changes)
    activities, profiles = shop(0)
    rows = latest(activities_of(activities, schema), CUTOFF, 60)
    encoding = Encoding(schema, config.number_transform, config.minimum_count)
    encoding.fit(rows, profiles_of(profiles, rows["customer_id"].unique(), CUTOFF, schema))
    return Bundle("0123456789ab", config, encoding, restless(Caspr(config, shape_of(encoding))), {}, {})


def hard(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Other activities than those of the fit, with all that can be wrong in them."""
    activities, profiles = shop(seed)
    activities.loc[::7, "product"] = "never seen"
    activities.loc[::11, "activity_type"] = "UNK"
    activities.loc[::5, "amount"] = math.inf
    activities.loc[::13, "amount"] = 1e9  # beyond the clip
    late = activities.iloc[:6].assign(occurred_at=[CUTOFF, CUTOFF + dt.timedelta(seconds=1)] * 3, activity_id="late")
    only_late = late.iloc[:1].assign(customer_id="only late")
    profiles.loc[::3, "country"] = None
    profiles.loc[::4, "age"] = np.nan
    profiles.loc[1, "country"] = "never seen"
    return pd.concat([activities, late, only_late], ignore_index=True), profiles.iloc[:-5]


def by_hand(folder: Path, scratch: Path, activities: pd.DataFrame, profiles: pd.DataFrame) -> pd.DataFrame:
    """What a process that knows nothing of caspr_train makes of the export."""

    def rows(frame):
        frame = frame.astype(object).where(frame.notna(), None)
        return frame.to_dict("records")

    activities = activities.assign(occurred_at=activities.occurred_at.map(lambda at: at.isoformat()))
    given = {
        "activities": rows(activities),
        "profiles": {row["customer_id"]: row for row in rows(profiles)},
        "cutoff_at": CUTOFF.isoformat(),
    }
    (scratch / "given.json").write_text(json.dumps(given))
    script = Path(__file__).with_name("onnx_by_hand.py")
    command = [sys.executable, "-I", script, folder, scratch / "given.json", scratch / "out.json"]
    subprocess.run(command, check=True, cwd=scratch)
    return pd.DataFrame.from_dict(json.loads((scratch / "out.json").read_text()), orient="index")


@pytest.mark.parametrize(
    "name, schema, changes",
    [
        ("default", SCHEMA, {"sequence_length": 15}),
        ("paper", SCHEMA, {"sequence_length": 7, "minimum_count": 3, "encoder_layers": 1}),
        ("paper", BARE, {"sequence_length": 1, "encoder_layers": 1}),
    ],
)
def test_onnx_runtime_and_the_description_alone_give_the_vectors_of_the_bundle(tmp_path, name, schema, changes):
    bundle = bundle_of(name, schema, **changes)
    export.export_onnx(bundle, tmp_path / "onnx")
    assert sorted(f.name for f in (tmp_path / "onnx").iterdir()) == ["model.onnx", "preprocessing.json"]
    activities, profiles = hard(seed=1)
    vectors = by_hand(tmp_path / "onnx", tmp_path, activities, profiles)
    expected = bundle.embed(activities, CUTOFF, profiles)
    assert vectors.index.tolist() == expected.index.tolist() and len(vectors) == 40
    np.testing.assert_allclose(vectors.to_numpy(), expected.to_numpy(), rtol=0, atol=1e-4)
    one = activities[activities.customer_id == "kundin 1"]  # a batch of one
    np.testing.assert_allclose(
        by_hand(tmp_path / "onnx", tmp_path, one, profiles).to_numpy(), expected.loc[["kundin 1"]], rtol=0, atol=1e-4
    )


def test_an_export_holds_no_path_and_is_the_same_every_time(tmp_path):
    bundle = bundle_of("default", SCHEMA, encoder_layers=1)
    export.export_onnx(bundle, tmp_path / "onnx")
    model = (tmp_path / "onnx" / "model.onnx").read_bytes()
    export.export_onnx(bundle, tmp_path / "onnx")  # takes the place of the first
    assert model == (tmp_path / "onnx" / "model.onnx").read_bytes()
    assert b"export.py" not in model and b"site-packages" not in model
    assert [f.name for f in tmp_path.iterdir()] == ["onnx"]


def test_weights_too_large_for_one_file_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MOST_INSIDE", 0)
    bundle = bundle_of("default", SCHEMA, encoder_layers=1)
    export.export_onnx(bundle, tmp_path / "onnx")
    assert (tmp_path / "onnx" / "model.onnx.data").stat().st_size > 50_000
    activities, profiles = shop(1)
    vectors = by_hand(tmp_path / "onnx", tmp_path, activities, profiles)
    expected = bundle.embed(activities, CUTOFF, profiles)
    np.testing.assert_allclose(vectors.to_numpy(), expected.to_numpy(), rtol=0, atol=1e-4)


@pytest.fixture
def saved(tmp_path):
    bundle_of("default", SCHEMA, encoder_layers=1).save(tmp_path / "run" / "bundle")
    return tmp_path / "run" / "bundle"


def test_the_command_writes_beside_the_bundle(saved, capfd):
    assert main(["export", "--onnx", "--bundle", str(saved)]) == 0
    assert sorted(f.name for f in saved.parent.iterdir()) == ["bundle", "onnx"]
    said = capfd.readouterr()
    assert f"wrote {saved.parent / 'onnx' / 'model.onnx'}" in said.out and said.err == ""
    described = json.loads((saved.parent / "onnx" / "preprocessing.json").read_text())
    assert described["model_version"] == "0123456789ab"


def test_a_folder_that_holds_something_else_is_left_alone(saved, capsys):
    mine = saved.parent / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for folder, found in ((mine, "holds thesis.txt"), (mine / "thesis.txt", "is a file")):
        assert main(["export", "--onnx", "--bundle", str(saved), "--out", str(folder)]) == 2
        assert f"{folder} {found}; expected a new folder" in capsys.readouterr().err
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert main(["export", "--onnx", "--bundle", str(mine), "--out", str(mine / "out")]) == 1
    assert "is no bundle" in capsys.readouterr().err and not (mine / "out").exists()


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "preprocessing", lambda bundle: {"not": object()})
    with pytest.raises(TypeError):
        export.export_onnx(bundle_of("paper", BARE, encoder_layers=1), tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_every_input_of_the_export_is_what_a_batch_calls_it():
    names = [field.name for field in dataclasses.fields(export.Batch)]
    assert names[: len(export.INPUTS)] == list(export.INPUTS)

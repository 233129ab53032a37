"""The model for whoever has no torch and no caspr_train: an ONNX file, and a description of what to feed it."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from caspr_train.bundle import Bundle
from caspr_train.encoding import LARGEST, SECONDS_SINCE_PREVIOUS, Scaler
from caspr_train.errors import UsageError
from caspr_train.files import whole_folder
from caspr_train.frames import MOST, TIES, relative_to
from caspr_train.model import Caspr
from caspr_train.sequences import MISSING, PAD, RESERVED, SECONDS_PER_DAY, UNK, Batch

FORMAT = 1
MODEL, WEIGHTS, DESCRIPTION = "model.onnx", "model.onnx.data", "preprocessing.json"
INPUTS = ("categories", "numbers", "days_before", "valid", "profile_categories", "profile_numbers")  # as in Batch
OUTPUT = "customer_embedding"
# An ONNX file is a protocol buffer, which ends at 2 GiB: larger weights lie in a file beside it.
MOST_INSIDE = 2**30

WINDOW = (
    "Of each customer take the activities with occurred_at < cutoff_at (UTC), order them by `order` (stream_rank and "
    "activity_id decide between activities of one instant; activity_id by the bytes of its text), and keep the last "
    "`length`. They stand oldest first and end at the right: place length - 1 is the latest, the places before the "
    "first are padding. A customer without an activity before cutoff_at has no embedding."
)
CATEGORICAL = (
    "The code of a value is codes[value as text]; null has the code `missing`, a text that is not in `codes` has the "
    "code `unknown`. Booleans are the texts true and false, whole numbers their decimal digits."
)
NUMERICAL = (
    "x = value / divide_by; if transform is signed_log, x = sign(x) * log(1 + |x|), else x is clipped to ±`largest`. "
    "The input is (x - mean) / scale, clipped to `clip`, rounded to single and then to half precision (IEEE 754), as "
    "in training. Null, NaN and infinite values are NaN: the model knows NaN as missing."
)
SINCE_PREVIOUS = (
    "Seconds since the customer's activity before this one in `order`, which may lie before the window; null for the "
    "customer's first."
)
RELATIVE_TO = (
    "The value of `of` over the mean of the customer's values of `of` at strictly earlier occurred_at, before the "
    "window too, rounded to six decimals; values that are null, NaN or of {most:g} and more count as null; null "
    "without an earlier value or where the mean is 0 to six decimals."
)
DAYS_BEFORE = (
    "(log(1 + ceil(s) / 86400) - mean) / scale, with s the seconds from the activity to cutoff_at, at most 2147483647."
)
PROFILE = "One row of attributes a customer, as known at cutoff_at; a customer without one has nulls everywhere."


class Embed(nn.Module):
    """Caspr.embed as a forward pass over plain tensors, which is what an exporter understands."""

    def __init__(self, model: Caspr) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model.embed(Batch(*inputs))


def expect_exporter() -> None:
    """Raise UsageError unless the packages of the extra `export` are installed."""
    if missing := [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]:
        raise UsageError(
            f"export --onnx needs the packages onnx and onnxscript; not installed: {', '.join(missing)}. "
            "Run `pip install 'caspr-train[export]'`"
        )


def export_onnx(bundle: Bundle, folder: Path) -> None:
    """Write model.onnx and preprocessing.json into `folder`, which is the whole export or not there.

    The inputs are INPUTS, of any batch size and the model's t; the output is OUTPUT [batch, width] float32.
    UsageError: the extra `export` is not installed, or the folder holds something else than an export.
    """
    expect_exporter()
    folder = folder.resolve()
    _expect_replaceable(folder)
    # The exporter tells of its own affairs: operators of packages that are not here, names that it does not use.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Embed(bundle.model()).eval(),
            _example(bundle),
            input_names=INPUTS,
            output_names=[OUTPUT],
            dynamic_shapes=(tuple({0: torch.export.Dim("batch")} for _ in INPUTS),),
            dynamo=True,
            verbose=False,
        )
    assert program is not None, "None comes of dynamo=False only"
    # What the exporter notes of its way holds the paths of this machine, and would differ from machine to machine.
    program.model.graph.metadata_props.clear()
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    program.model.metadata_props["caspr_model_version"] = bundle.model_version
    size = sum(weight.numel() * weight.element_size() for weight in bundle.weights.values())
    with whole_folder(folder) as draft:
        program.save(draft / MODEL, external_data=size > MOST_INSIDE)
        text = json.dumps(preprocessing(bundle), indent=1, ensure_ascii=False)
        (draft / DESCRIPTION).write_text(text, encoding="utf-8")


def preprocessing(bundle: Bundle) -> dict[str, Any]:
    """All that turns activities and a profile into the inputs, as JSON, in words and numbers of its own."""
    t, width = bundle.config.sequence_length, bundle.model().width
    mean, scale = bundle.encoding.days_scaler
    categories, numbers = _categories(bundle, "sequence"), _numbers(bundle, "sequence")
    profile_categories, profile_numbers = _categories(bundle, "profile"), _numbers(bundle, "profile")
    return {
        "format": FORMAT,
        "model": MODEL,
        "model_version": bundle.model_version,
        "window": {"length": t, "order": ["occurred_at", *TIES], "rule": WINDOW},
        "codes": {"padding": PAD, "unknown": UNK, "missing": MISSING},
        "largest": LARGEST,
        "clip": [-10, 10],
        "rules": {"categorical": CATEGORICAL, "numerical": NUMERICAL, "profile": PROFILE},
        "inputs": {
            "categories": {
                "type": "int64",
                "shape": ["batch", t, len(categories)],
                "padding": PAD,
                "columns": categories,
            },
            "numbers": {
                "type": "float32",
                "shape": ["batch", t, len(numbers)],
                "padding": 0.0,
                "columns": numbers,
            },
            "days_before": {
                "type": "float32",
                "shape": ["batch", t],
                "padding": 0.0,
                "mean": mean,
                "scale": scale,
                "rule": DAYS_BEFORE,
            },
            "valid": {
                "type": "bool",
                "shape": ["batch", t],
                "padding": False,
                "rule": "True where there is an activity.",
            },
            "profile_categories": {
                "type": "int64",
                "shape": ["batch", len(profile_categories)],
                "columns": profile_categories,
            },
            "profile_numbers": {
                "type": "float32",
                "shape": ["batch", len(profile_numbers)],
                "columns": profile_numbers,
            },
        },
        "output": {"name": OUTPUT, "type": "float32", "shape": ["batch", width]},
    }


def _categories(bundle: Bundle, scope: str) -> list[dict[str, Any]]:
    vocabularies = bundle.encoding.vocabularies_
    return [
        {
            "name": a.name,
            "column": a.column,
            "codes": {value: code for code, value in enumerate(vocabularies[f"{scope}.{a.name}"].values_, RESERVED)},
        }
        for a in bundle.schema.select(scope, "categorical")
    ]


def _numbers(bundle: Bundle, scope: str) -> list[dict[str, Any]]:
    scalers, columns = bundle.encoding.scalers_, []
    if scope == "sequence":
        since = _scaled(SECONDS_SINCE_PREVIOUS, scalers[f"sequence.{SECONDS_SINCE_PREVIOUS}"], SECONDS_PER_DAY)
        columns.append({"name": SECONDS_SINCE_PREVIOUS, **since, "derived": {"rule": SINCE_PREVIOUS}})
    for a in bundle.schema.select(scope, "numerical"):
        column = {"name": a.name, **_scaled(a.column, scalers[f"{scope}.{a.name}"], 1.0)}
        if scope == "sequence" and (of := relative_to(a, bundle.schema)):
            column["derived"] = {"of": of.column, "rule": RELATIVE_TO.format(most=MOST)}
        columns.append(column)
    return columns


def _scaled(column: str, scaler: Scaler, divide_by: float) -> dict[str, Any]:
    return {
        "column": column,
        "divide_by": divide_by,
        "transform": scaler.transform_name,
        "mean": scaler.mean_,
        "scale": scaler.scale_,
    }


def _example(bundle: Bundle) -> tuple[Tensor, ...]:
    """Inputs of the right shapes, for a batch of two: of a size of one the exporter makes a constant."""
    shape, t = bundle.model().shape, bundle.config.sequence_length
    return (
        torch.zeros(2, t, len(shape.sequence_cardinalities), dtype=torch.int64),
        torch.zeros(2, t, shape.sequence_numbers),
        torch.zeros(2, t),
        torch.ones(2, t, dtype=torch.bool),
        torch.zeros(2, len(shape.profile_cardinalities), dtype=torch.int64),
        torch.zeros(2, shape.profile_numbers),
    )


def _expect_replaceable(folder: Path) -> None:
    if not folder.exists():
        return
    other = [] if not folder.is_dir() else sorted({f.name for f in folder.iterdir()} - {MODEL, WEIGHTS, DESCRIPTION})
    if other or not folder.is_dir():
        found = f"holds {other[0]}" if other else "is a file"
        raise UsageError(f"{folder} {found}; expected a new folder, or one of an earlier export, which is replaced")

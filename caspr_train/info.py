"""What `caspr_train info` prints of a bundle."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from caspr_train.bundle import Bundle
from caspr_train.config import PRESETS
from caspr_train.encoding import SECONDS_BEFORE_CUTOFF, SECONDS_SINCE_PREVIOUS, Encoding, Scaler
from caspr_train.schema import Attribute
from caspr_train.sequences import RESERVED

# Lists in metrics["validation"] with an entry for each attribute, the categorical ones first (see trainer.validate).
BY_ATTRIBUTE = ("masked", "masked_baseline", "next", "next_baseline")
LEARNT = (
    "learnt of held-out customers: cross-entropy or squared error at masked and next events, and as baseline what the "
    "frequencies of the fitted ones or the mean give there"
)


def info_text(bundle: Bundle, folder: Path) -> str:
    """Some lines on where the bundle comes from, how it was configured, what it reads and how well it learnt."""
    weights, metrics = bundle.weights.values(), dict(bundle.metrics)
    if learnt := list(_learnt(bundle)):
        metrics["validation"] = {k: v for k, v in metrics["validation"].items() if k not in BY_ATTRIBUTE}
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    parts: dict[str, list[tuple[str, Any]]] = {
        f"bundle {folder}": [
            ("model_version", bundle.model_version),
            ("weights", f"{sum(weight.numel() for weight in weights):,} ({size / 1e6:,.1f} MB)"),
            ("columns of a vector", bundle.model().width),
        ],
        "lineage": list(bundle.lineage.items()),
        f"config: preset {bundle.config.preset}": list(_changes(bundle)),
        "reads of a sequence": list(_columns(bundle, "sequence")),
        "reads of a profile": list(_columns(bundle, "profile")),
        "metrics": list(_flat(metrics)),
    }
    if learnt:
        parts[LEARNT] = learnt
    return "\n\n".join("\n".join([title, *_table(rows)]) for title, rows in parts.items())


def _changes(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """What differs from the preset; t is said in any case, whoever reads the schema wants to know it."""
    given, usual = bundle.config.as_dict(), PRESETS.get(bundle.config.preset)
    yield "sequence_length", str(given.pop("sequence_length"))
    for name, value in given.items():
        if usual is None:
            yield name, _value(value)
        elif value != getattr(usual, name):
            yield name, f"{_value(value)} (preset: {_value(getattr(usual, name))})"


def _columns(bundle: Bundle, scope: str) -> Iterator[tuple[str, str]]:
    encoding = bundle.encoding
    if scope == "sequence":
        for name in (SECONDS_SINCE_PREVIOUS, SECONDS_BEFORE_CUTOFF):
            yield name, f"numerical, in days, {_scaler(encoding.scalers_[f'sequence.{name}'])}"
    for attribute in bundle.schema.attributes:
        if attribute.scope == scope:
            column = "" if attribute.column == attribute.name else f", column {attribute.column}"
            role = f", role {attribute.role}" if attribute.role else ""
            yield attribute.name, f"{attribute.kind}{role}{column}, {_encoded(encoding, attribute)}"


def _encoded(encoding: Encoding, attribute: Attribute) -> str:
    key = f"{attribute.scope}.{attribute.name}"
    if attribute.kind == "numerical":
        return _scaler(encoding.scalers_[key])
    vocabulary = encoding.vocabularies_[key]
    rare = f" seen {encoding.minimum_count} times or more" if encoding.minimum_count > 1 else ""
    first = f", the most frequent {vocabulary.values_[0]!r}" if vocabulary.values_ else ""
    return f"{len(vocabulary) - RESERVED:,} values{rare}{first}"


def _scaler(scaler: Scaler) -> str:
    return f"{scaler.transform_name}, mean {scaler.mean_:.6g}, scale {scaler.scale_:.6g}"


def _learnt(bundle: Bundle) -> Iterator[tuple[str, str]]:
    """The lists of BY_ATTRIBUTE with the names of the attributes; nothing where they are not of that length."""
    names = [a.name for a in bundle.schema.select("sequence", "categorical")] + bundle.encoding.sequence_numbers
    validation = bundle.metrics.get("validation") or {}
    lists = {key: validation[key] for key in BY_ATTRIBUTE if validation.get(key) is not None}
    if lists and all(len(values) == len(names) for values in lists.values()):
        for place, name in enumerate(names):
            yield name, "  ".join(f"{key} {_value(values[place]):<7}" for key, values in lists.items()).rstrip()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested JSON; of a history, a list of objects, the last."""
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[-1], Mapping):
            name, value = f"{name}[{len(value) - 1}]", value[-1]
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _value(value)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return " ".join(map(_value, value)) or "none"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e5 and math.isfinite(value) else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _table(rows: list[tuple[str, Any]]) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:<{width}}  {_value(value)}" for name, value in rows] or ["  nothing"]

"""Values to numbers: vocabularies and scalers, fitted on the train cutoff only.

Categories are coded by falling frequency (ties by value), so that a code's size says how common it is and the same
data gives the same codes. Numbers are standardised; what is missing or not finite becomes NaN, which the model turns
into a zero and an indicator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from caspr_train.schema import Schema
from caspr_train.sequences import MISSING, RESERVED, SECONDS_PER_DAY, UNK

# Two numbers that every activity has, beside its attributes: hand-over 1 carries them as columns of their own.
SECONDS_SINCE_PREVIOUS = "seconds_since_previous"
SECONDS_BEFORE_CUTOFF = "seconds_before_cutoff"


@dataclass
class Vocabulary:
    """The values of one categorical attribute; the code of `values_[i]` is `i + RESERVED`."""

    minimum_count: int = 1
    values_: list[str] = field(default_factory=list)

    def fit(self, column: pa.ChunkedArray | pa.Array) -> Vocabulary:
        counts = pc.value_counts(column.cast(pa.string()).drop_null())
        pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
        kept = [(value, count) for value, count in pairs if count >= self.minimum_count]
        self.values_ = [value for value, _ in sorted(kept, key=lambda pair: (-pair[1], pair[0]))]
        return self

    def transform(self, column: pa.ChunkedArray | pa.Array) -> np.ndarray:
        """Codes [rows], int16 where they fit and int32 where not; never PAD."""
        column = column.cast(pa.string())
        found = pc.index_in(column, value_set=pa.array(self.values_, pa.string()))
        codes = pc.fill_null(pc.add(found.cast(pa.int32()), RESERVED), UNK)
        codes = pc.if_else(pc.is_null(column), MISSING, codes)
        return _numpy(codes).astype(np.int16 if len(self) < 2**15 else np.int32)

    def __len__(self) -> int:
        """How many codes there are, the reserved ones included."""
        return len(self.values_) + RESERVED


@dataclass
class Scaler:
    """x -> (g(x) - mean_) / scale_ with g the identity or the signed logarithm; clipped to ±10 scales."""

    transform_name: str = "identity"
    mean_: float = 0.0
    scale_: float = 1.0

    def _shape(self, values: np.ndarray) -> np.ndarray:
        return np.sign(values) * np.log1p(np.abs(values)) if self.transform_name == "signed_log" else values

    def fit(self, values: np.ndarray) -> Scaler:
        """`values` [rows], float64 with NaN for missing. A constant or empty column scales by 1."""
        finite = self._shape(values[np.isfinite(values)])
        if len(finite):
            self.mean_ = float(finite.mean())
            self.scale_ = float(finite.std()) or 1.0
        return self

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Standardised values [rows], float32; NaN where the input is missing or not finite."""
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = (self._shape(np.where(np.isfinite(values), values, np.nan)) - self.mean_) / self.scale_
        return np.clip(scaled, -10, 10).astype(np.float32)


@dataclass
class Encoding:
    """What turns the rows of the marts into codes and standardised numbers, for one schema.

    `vocabularies_` and `scalers_` are keyed by `scope.attribute`. `not_finite_` counts, by the same keys, the infinite
    or NaN numbers among all rows that `numbers` was given: they are treated as missing.
    """

    schema: Schema
    number_transform: str = "identity"
    minimum_count: int = 1
    vocabularies_: dict[str, Vocabulary] = field(default_factory=dict)
    scalers_: dict[str, Scaler] = field(default_factory=dict)
    not_finite_: dict[str, int] = field(default_factory=dict)

    @property
    def sequence_numbers(self) -> list[str]:
        """Names along the last axis of the numbers of an activity."""
        return [SECONDS_SINCE_PREVIOUS, *(a.name for a in self.schema.select("sequence", "numerical"))]

    def fit(self, activities: pa.Table, profiles: pa.Table) -> Encoding:
        """Learn from the rows of the train cutoffs: of activity_sequences and of customer_profiles."""
        for scope, table in (("sequence", activities), ("profile", profiles)):
            for attribute in self.schema.select(scope, "categorical"):
                vocabulary = Vocabulary(self.minimum_count).fit(table[attribute.column])
                self.vocabularies_[f"{scope}.{attribute.name}"] = vocabulary
            for attribute in self.schema.select(scope, "numerical"):
                scaler = Scaler(self.number_transform).fit(_float64(table[attribute.column]))
                self.scalers_[f"{scope}.{attribute.name}"] = scaler
        # Time is skewed whatever the attributes are like: its two numbers always go through the logarithm.
        for name in (SECONDS_SINCE_PREVIOUS, SECONDS_BEFORE_CUTOFF):
            self.scalers_[f"sequence.{name}"] = Scaler("signed_log").fit(_float64(activities[name]) / SECONDS_PER_DAY)
        return self

    def categories(self, scope: str, table: pa.Table) -> np.ndarray:
        """Codes [rows, categorical attributes of the scope]."""
        columns = [
            self.vocabularies_[f"{scope}.{a.name}"].transform(table[a.column])
            for a in self.schema.select(scope, "categorical")
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0), np.int16)

    def numbers(self, scope: str, table: pa.Table) -> np.ndarray:
        """Standardised numbers [rows, n], float32, NaN = missing; an activity's seconds_since_previous comes first."""
        columns = []
        if scope == "sequence":
            scaler = self.scalers_[f"sequence.{SECONDS_SINCE_PREVIOUS}"]
            columns.append(scaler.transform(_float64(table[SECONDS_SINCE_PREVIOUS]) / SECONDS_PER_DAY))
        for attribute in self.schema.select(scope, "numerical"):
            key, values = f"{scope}.{attribute.name}", _float64(table[attribute.column])
            # Arrow keeps null apart from NaN: only the second is a number that should not be there.
            wrong = len(values) - int(np.isfinite(values).sum()) - table[attribute.column].null_count
            if wrong:
                self.not_finite_[key] = self.not_finite_.get(key, 0) + wrong
            columns.append(self.scalers_[key].transform(values))
        return np.stack(columns, axis=1) if columns else np.zeros((len(table), 0), np.float32)

    @property
    def days_scaler(self) -> tuple[float, float]:
        """Mean and scale of log(1 + days from an activity to the cutoff)."""
        scaler = self.scalers_[f"sequence.{SECONDS_BEFORE_CUTOFF}"]
        return scaler.mean_, scaler.scale_

    def cardinalities(self, scope: str) -> list[int]:
        return [len(self.vocabularies_[f"{scope}.{a.name}"]) for a in self.schema.select(scope, "categorical")]

    def as_dict(self) -> dict[str, Any]:
        return {
            "number_transform": self.number_transform,
            "minimum_count": self.minimum_count,
            "vocabularies": {key: v.values_ for key, v in self.vocabularies_.items()},
            "scalers": {
                k: {"transform": s.transform_name, "mean": s.mean_, "scale": s.scale_} for k, s in self.scalers_.items()
            },
        }

    @classmethod
    def from_dict(cls, schema: Schema, saved: Mapping[str, Any]) -> Encoding:
        encoding = cls(schema, saved["number_transform"], saved["minimum_count"])
        encoding.vocabularies_ = {k: Vocabulary(encoding.minimum_count, v) for k, v in saved["vocabularies"].items()}
        encoding.scalers_ = {k: Scaler(s["transform"], s["mean"], s["scale"]) for k, s in saved["scalers"].items()}
        return encoding


def _numpy(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.to_numpy(zero_copy_only=False)


def _float64(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """The column as float64 [rows] with NaN for null."""
    return _numpy(column.cast(pa.float64())).astype(np.float64, copy=False)

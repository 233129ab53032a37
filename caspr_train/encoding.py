"""Values to numbers: vocabularies and scalers, fitted on the train cutoff only.

Categories are coded by falling frequency (ties by value), so that a code's size says how common it is and the same
data gives the same codes. Numbers are standardised; what is missing or not finite becomes NaN, which the model turns
into a zero and an indicator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from caspr_train.errors import DataError
from caspr_train.schema import Schema
from caspr_train.sequences import MISSING, RESERVED, SECONDS_PER_DAY, UNK

# Two numbers that every activity has, beside its attributes: hand-over 1 carries them as columns of their own.
SECONDS_SINCE_PREVIOUS = "seconds_since_previous"
SECONDS_BEFORE_CUTOFF = "seconds_before_cutoff"

MOST_CODES = 2**31 - 1  # what int32 holds
# Rows worked on at once. What is fitted depends on it in the last bit, so it is the same wherever rows come from.
CHUNK = 2**18
LARGEST = 1e100  # numbers beyond it count as it: the sum of their squares would be infinite

# A whole table, or its rows as they come.
Rows: TypeAlias = "pa.Table | Iterable[pa.RecordBatch]"


def chunks(rows: Rows) -> Iterator[pa.Table]:
    """The rows in their order as tables of CHUNK rows, the last of what is left; the borders of batches vanish."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
        while count + len(batch) >= CHUNK:
            yield _one_piece([*waiting, batch.slice(0, CHUNK - count)])
            batch, waiting, count = batch.slice(CHUNK - count), [], 0
        if len(batch):
            waiting.append(batch)
            count += len(batch)
    if waiting:
        yield _one_piece(waiting)


def _one_piece(batches: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches).unify_dictionaries().combine_chunks()


@dataclass
class Vocabulary:
    """The values of one categorical attribute; the code of `values_[i]` is `i + RESERVED`."""

    minimum_count: int = 1
    values_: list[str] = field(default_factory=list)

    def fit(self, column: pa.ChunkedArray | pa.Array) -> Vocabulary:
        counts = Counts()
        counts.add(column)
        return self.fit_counts(counts)

    def fit_counts(self, counts: Counts) -> Vocabulary:
        """DataError: more values than there are codes."""
        table = counts.total()
        table = table.filter(pc.greater_equal(table["count"], self.minimum_count))
        if len(table) + RESERVED > MOST_CODES:
            raise DataError(
                f"{len(table):,} values, expected at most {MOST_CODES - RESERVED:,}; leave the attribute out, or count "
                "only values seen more often (minimum_count)"
            )
        # Text is ordered by its bytes, which is the order of its code points.
        self.values_ = table.sort_by([("count", "descending"), ("value", "ascending")])["value"].to_pylist()
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
class Counts:
    """How often each value of a column was seen, over any number of pieces of it."""

    parts_: list[pa.Table] = field(default_factory=list)

    def add(self, column: pa.ChunkedArray | pa.Array) -> None:
        found = pc.value_counts(column.cast(pa.string()).drop_null())
        self.parts_.append(pa.table({"value": found.field("values"), "count": found.field("counts")}))
        # Merged when the new pieces have grown as large as the old total: the work stays in proportion to the rows.
        if sum(map(len, self.parts_[1:])) > max(CHUNK, len(self.parts_[0])):
            self.parts_ = [self.total()]

    def total(self) -> pa.Table:
        """`value` and `count`, a row a value."""
        if not self.parts_:
            return pa.table({"value": pa.array([], pa.string()), "count": pa.array([], pa.int64())})
        counted = pa.concat_tables(self.parts_).group_by("value").aggregate([("count", "sum")])
        return counted.select(["value", "count_sum"]).rename_columns(["value", "count"])


@dataclass
class Scaler:
    """x -> (g(x) - mean_) / scale_ with g the identity or the signed logarithm; clipped to ±10 scales."""

    transform_name: str = "identity"
    mean_: float = 0.0
    scale_: float = 1.0
    # What was added so far: how many values, and the sum of their squared distances from mean_.
    count_: int = 0
    squares_: float = 0.0

    def _shape(self, values: np.ndarray) -> np.ndarray:
        if self.transform_name == "signed_log":
            return np.sign(values) * np.log1p(np.abs(values))
        return np.clip(values, -LARGEST, LARGEST)

    def fit(self, values: np.ndarray) -> Scaler:
        """`values` [rows], float64 with NaN for missing. A constant or empty column scales by 1."""
        self.add(values)
        return self.fit_added()

    def add(self, values: np.ndarray) -> None:
        """A piece of the column. Pieces are merged as Chan, Golub and LeVeque do (1979), without cancellation."""
        finite = self._shape(values[np.isfinite(values)])
        if not len(finite):
            return
        mean, total = float(finite.mean()), self.count_ + len(finite)
        away = mean - self.mean_
        self.squares_ += float(np.square(finite - mean).sum()) + away * away * (self.count_ * len(finite) / total)
        self.mean_ += away * (len(finite) / total)
        self.count_ = total

    def fit_added(self) -> Scaler:
        deviation = (self.squares_ / max(1, self.count_)) ** 0.5
        # Of equal values the mean is off in its last bits, and so is every distance from it.
        self.scale_ = deviation if deviation > 1e-13 * abs(self.mean_) else 1.0
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

    def fit(self, activities: Rows, profiles: Rows) -> Encoding:
        """Learn from the rows of the train cutoffs: of customer_profiles, read first, and of activity_sequences.

        DataError: an attribute with more values than there are codes.
        """
        for scope, rows in (("profile", profiles), ("sequence", activities)):
            counts = {a.name: Counts() for a in self.schema.select(scope, "categorical")}
            scalers = {a.name: Scaler(self.number_transform) for a in self.schema.select(scope, "numerical")}
            # Time is skewed whatever the attributes are like: its two numbers always go through the logarithm.
            times = (SECONDS_SINCE_PREVIOUS, SECONDS_BEFORE_CUTOFF) if scope == "sequence" else ()
            scalers |= {name: Scaler("signed_log") for name in times}
            columns = {a.name: a.column for a in self.schema.attributes if a.scope == scope}
            for table in chunks(rows):
                for name in counts:
                    counts[name].add(table[columns[name]])
                for name, scaler in scalers.items():
                    values = _float64(table[columns.get(name, name)])
                    scaler.add(values / SECONDS_PER_DAY if name in times else values)
            for name, counted in counts.items():
                try:
                    vocabulary = Vocabulary(self.minimum_count).fit_counts(counted)
                except DataError as error:
                    raise DataError(f"the {scope} attribute {name} has {error}") from None
                self.vocabularies_[f"{scope}.{name}"] = vocabulary
            self.scalers_ |= {f"{scope}.{name}": scaler.fit_added() for name, scaler in scalers.items()}
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

"""Frames to rows as the marts have them: what a data scientist holds in the hand, ready to be packed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from caspr_train.encoding import SECONDS_BEFORE_CUTOFF, SECONDS_SINCE_PREVIOUS
from caspr_train.errors import DataError, UsageError
from caspr_train.schema import PROFILE_BEGAN_AT, Attribute, Schema

# A pandas DataFrame, a pyarrow Table, or whatever speaks Arrow's stream interface, as polars and DuckDB do.
Frame: TypeAlias = Any

# The package's total order of a customer's activities (macro activity_order) behind their time.
TIES = ("stream_rank", "activity_id")
RELATIVE = "_relative"
# Beyond it a number counts as not finite (macro finite): the sums behind a mean must not overflow.
MOST = 1e100
MICROSECONDS = 1e6


def instant_of(cutoff_at: datetime | date | str | None, activities: pa.Table) -> datetime:
    """In UTC without a zone. None: the start of the day after the last activity, as the marts choose as_of."""
    if cutoff_at is None:
        last = pc.max(activities["occurred_at"]).as_py()
        return (pd.Timestamp(last).normalize() + pd.Timedelta(days=1)).to_pydatetime()
    try:
        instant = pd.Timestamp(cutoff_at)
    except (ValueError, TypeError):
        instant = pd.NaT
    if instant is pd.NaT:
        raise UsageError(f"cutoff_at is {cutoff_at!r}; expected an instant such as '2025-01-01' or a datetime")
    return (instant.tz_convert("UTC").tz_localize(None) if instant.tz else instant).to_pydatetime()


def activities_of(frame: Frame, schema: Schema) -> pa.Table:
    """The columns of `frame` that the schema's sequences need, typed, ordered by customer and then by time.

    The columns are customer_id, occurred_at, TIES where the frame has them, the attributes, and
    seconds_since_previous. The last, and an attribute `x_relative` that follows from an attribute `x`, are derived
    where the frame lacks them. DataError: a column is missing or of another kind, a key or a time is null.
    """
    columns, attributes = _columns(frame, "the frame"), _attributes(schema, "sequence")
    derived = {a.column: of for a in attributes if a.column not in columns and (of := relative_to(a, schema))}
    names = ["customer_id", "occurred_at", *(a.column for a in attributes if a.column not in derived)]
    _expect(columns, names, "the frame")
    if "cutoff_at" in columns and (cutoffs := len(pc.unique(_time(columns["cutoff_at"], "cutoff_at")))) > 1:
        raise DataError(f"the frame holds rows of {cutoffs} cutoffs (column cutoff_at); expected each activity once")
    table = pa.table(
        {
            "customer_id": _text(columns["customer_id"], "customer_id"),
            "occurred_at": _time(columns["occurred_at"], "occurred_at"),
            **({"stream_rank": _number(columns["stream_rank"], "stream_rank")} if "stream_rank" in columns else {}),
            **({"activity_id": _text(columns["activity_id"], "activity_id")} if "activity_id" in columns else {}),
            **{a.column: _typed(columns[a.column], a) for a in attributes if a.column not in derived},
        }
    )
    if SECONDS_SINCE_PREVIOUS in columns:
        gaps = _number(columns[SECONDS_SINCE_PREVIOUS], SECONDS_SINCE_PREVIOUS)
        table = table.append_column(SECONDS_SINCE_PREVIOUS, gaps)
    for name in ("customer_id", "occurred_at", "activity_type"):
        if nulls := table[name].null_count:
            raise DataError(f"the frame: {name} is null in {nulls:,} of {len(table):,} rows; leave these rows out")
    keys = ["customer_id", "occurred_at", *(name for name in TIES if name in columns)]
    table = table.sort_by([(name, "ascending") for name in keys])  # stable: remaining ties keep the frame's order
    customer = _codes(table)
    at = table["occurred_at"].cast(pa.int64()).to_numpy()
    if SECONDS_SINCE_PREVIOUS not in columns and len(table):
        gaps, first = np.diff(at, prepend=at[0]) / MICROSECONDS, np.diff(customer, prepend=-1) != 0
        table = table.append_column(SECONDS_SINCE_PREVIOUS, pa.array(gaps, mask=first))
    for column, of in derived.items():
        values = table[of.column].to_numpy(zero_copy_only=False)
        table = table.append_column(column, pa.array(_over_earlier_mean(customer, at, values), from_pandas=True))
    return table


def latest(activities: pa.Table, cutoff: datetime, t: int) -> pa.Table:
    """Rows as of activity_sequences: of each customer the latest t of `activities` before the cutoff, oldest first."""
    instant = pa.scalar(cutoff, pa.timestamp("us"))
    before = activities.filter(pc.less(activities["occurred_at"], instant))
    customer, rows = _codes(before), np.arange(len(before))
    starts = np.flatnonzero(np.diff(customer, prepend=-1))
    ends = np.append(starts[1:], len(before))
    lengths = ends - starts
    begins = np.repeat(np.maximum(starts, ends - t), lengths)
    seconds = (instant.cast(pa.int64()).as_py() - before["occurred_at"].cast(pa.int64()).to_numpy()) / MICROSECONDS
    kept = rows >= begins
    return (
        before.append_column("cutoff_at", pa.repeat(instant, len(before)))
        .append_column("position", pa.array(rows - begins + 1))
        .append_column(SECONDS_BEFORE_CUTOFF, pa.array(seconds))
        .filter(pa.array(kept))
    )


def profiles_of(frame: Frame | None, customers: pa.Array, cutoff: datetime, schema: Schema) -> pa.Table:
    """Rows as of customer_profiles, one for each of `customers` in their order, of nulls where `frame` has none.

    DataError: a column is missing or of another kind, or a customer has two rows.
    """
    attributes = _attributes(schema, "profile")
    at = pa.timestamp("us")
    keys = {"customer_id": customers, "cutoff_at": pa.repeat(pa.scalar(cutoff, at), len(customers))}
    keys[PROFILE_BEGAN_AT] = pa.nulls(len(customers), at)  # nobody cuts a window that ends earlier
    if frame is None:
        return pa.table({**keys, **{a.column: pa.nulls(len(customers), _type(a)) for a in attributes}})
    columns = _columns(frame, "profiles")
    _expect(columns, ["customer_id", *(a.column for a in attributes)], "profiles")
    known = _text(columns["customer_id"], "profiles: customer_id").combine_chunks()
    counts = pc.value_counts(known)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(twice):
        raise DataError(
            f"profiles: {len(twice):,} customers have more than one row, among them {twice[0].as_py()}; expected one "
            "row a customer, that of the cutoff"
        )
    place = pc.index_in(customers, value_set=known)  # null where the customer has no row, and so is what is taken
    return pa.table({**keys, **{a.column: _typed(columns[a.column], a).take(place) for a in attributes}})


def relative_to(attribute: Attribute, schema: Schema) -> Attribute | None:
    """The attribute `x` that `x_relative` follows from (setting `relative`); None for an attribute of its own."""
    if attribute.kind != "numerical" or not attribute.name.endswith(RELATIVE):
        return None
    name = attribute.name.removesuffix(RELATIVE)
    return next((a for a in schema.select("sequence", "numerical") if a.name == name), None)


def _over_earlier_mean(customer: np.ndarray, at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Each value over its customer's mean of strictly earlier instants, [rows] with NaN for null: relative_number."""
    finite = np.where(np.abs(values) < MOST, values, np.nan)
    rows = pd.DataFrame({"customer": customer, "at": at, "sum": np.nan_to_num(finite), "count": ~np.isnan(finite)})
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        before = rows.groupby("customer")[["sum", "count"]].cumsum().groupby(customer).shift(1, fill_value=0)
        # What is known at an instant is what is known before its first row: rows of one instant do not see each other.
        earlier = before.groupby([customer, at]).transform("first")
        mean = np.where(earlier["count"] > 0, earlier["sum"] / earlier["count"], np.nan)
        # What a sum of doubles leaves of zero is no mean to divide by.
        return _rounded(finite / np.where(_rounded(mean) == 0, np.nan, mean))


def _rounded(x: np.ndarray) -> np.ndarray:
    """Six decimals, halves away from zero, as the macro `rounded`."""
    with np.errstate(over="ignore", invalid="ignore"):
        millionths = x * 1e6
        whole = np.trunc(millionths)
        rounded = (whole + np.trunc(2 * (millionths - whole))) / 1e6
    return np.where(np.isfinite(millionths), rounded, x)


def _codes(table: pa.Table) -> np.ndarray:
    """The customers as numbers [rows], growing, of a table that is ordered by customer."""
    return table["customer_id"].dictionary_encode().combine_chunks().indices.to_numpy()


def _columns(frame: Frame, where: str) -> dict[str, Any]:
    """The columns of a frame by name, as they are; the names of a pandas index count as columns."""
    if isinstance(frame, pd.DataFrame):
        named = [name for name in frame.index.names if name is not None and name not in frame.columns]
        frame = frame.reset_index(level=named) if named else frame
        return {str(name): frame[name] for name in frame.columns}
    try:
        table = frame if isinstance(frame, pa.Table) else pa.table(frame)
    except (TypeError, ValueError):
        raise UsageError(
            f"{where} is of type {type(frame).__name__}; expected a pandas DataFrame or a pyarrow Table"
        ) from None
    return dict(zip(table.column_names, table.columns, strict=True))


def _expect(columns: dict[str, Any], names: Iterable[str], where: str) -> None:
    if missing := [name for name in names if name not in columns]:
        raise DataError(
            f"{where}: no column {', '.join(missing)}; found {', '.join(columns) or 'no column'}. "
            "`caspr_train info` prints the columns of the bundle"
        )


def _attributes(schema: Schema, scope: str) -> list[Attribute]:
    return [a for a in schema.attributes if a.scope == scope]


def _typed(column: Any, attribute: Attribute) -> pa.ChunkedArray:
    where = f"{attribute.scope} {attribute.name} (column {attribute.column})"
    return _text(column, where) if attribute.kind == "categorical" else _number(column, where)


def _type(attribute: Attribute) -> pa.DataType:
    return pa.string() if attribute.kind == "categorical" else pa.float64()


def _text(column: Any, where: str) -> pa.ChunkedArray:
    """The column as text. Floats are refused: 7 became 7.0 somewhere, and would be another value than "7"."""
    values = _arrow(column, where)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return _cast(
        values,
        pa.string(),
        (*kinds, pa.types.is_integer, pa.types.is_boolean, pa.types.is_date),
        where,
        "text, whole numbers, booleans or dates; whole numbers with gaps are floats in pandas: .astype('Int64') first",
    )


def _number(column: Any, where: str) -> pa.ChunkedArray:
    kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)
    return _cast(_arrow(column, where), pa.float64(), kinds, where, "numbers or booleans")


def _time(column: Any, where: str) -> pa.ChunkedArray:
    """The column in microseconds of UTC; a time without a zone is taken as UTC."""
    kinds = (pa.types.is_timestamp, pa.types.is_date)
    return _cast(_arrow(column, where), pa.timestamp("us"), kinds, where, "timestamps: pandas.to_datetime makes them")


def _cast(values: pa.ChunkedArray, to: pa.DataType, kinds: tuple[Any, ...], where: str, wanted: str) -> pa.ChunkedArray:
    if not (pa.types.is_null(values.type) or any(kind(values.type) for kind in kinds)):
        raise DataError(f"{where} is of type {values.type}; expected {wanted}")
    # Safe casts refuse nanoseconds, which no warehouse of ours keeps, and integers that a double rounds.
    return values.cast(to, safe=False)


def _arrow(column: Any, where: str) -> pa.ChunkedArray:
    if not isinstance(column, pa.ChunkedArray):
        try:
            column = pa.array(column, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            text = " ".join(str(error).split())[:160]
            raise DataError(f"{where} holds values that are of no one type: {text}") from None
        column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if pa.types.is_dictionary(column.type):
        # Decoded by hand: Arrow casts no dictionary of string views, which is what polars hands over.
        kind = column.type.value_type
        kind = pa.string() if pa.types.is_string_view(kind) else kind
        chunks = [pa.DictionaryArray.from_arrays(one.indices, one.dictionary.cast(kind)) for one in column.chunks]
        column = pa.chunked_array([one.dictionary_decode() for one in chunks], type=kind)
    return column

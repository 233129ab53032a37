"""Arrow rows of the marts to packed tensors, column by column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from caspr_train.encoding import SECONDS_BEFORE_CUTOFF, Encoding
from caspr_train.errors import DataError
from caspr_train.sequences import PackedSequences

# Sums of money are differences of one running sum over all customers: one absurd amount would swallow others' digits.
MOST_MONEY = 1e12


def pack(activities: pa.Table, profiles: pa.Table, encoding: Encoding) -> tuple[PackedSequences, pa.Table]:
    """Pack the rows of activity_sequences and customer_profiles (each of the same cutoffs).

    Both tables must come ordered by (cutoff_at, customer_id), the activities by position within it. Returns the
    sequences and their keys: a table of customer_id and cutoff_at with one row a sequence, in the same order.
    """
    if not len(activities):
        raise DataError("activity_sequences has no rows to pack; expected at least one activity before a cutoff")
    order = np.asarray(activities["position"])
    starts = np.flatnonzero(order == 1)
    offsets = np.append(starts, len(order)).astype(np.int64)
    begins_at_one = len(starts) > 0 and starts[0] == 0
    if not begins_at_one or (order != np.arange(len(order)) - np.repeat(starts, np.diff(offsets)) + 1).any():
        raise DataError("activity_sequences: position does not count 1, 2, 3 ... within a customer and cutoff")
    keys = activities.select(["customer_id", "cutoff_at"]).take(pa.array(starts))
    if len(profiles) != len(keys) or not (
        pc.all(pc.equal(profiles["customer_id"].combine_chunks(), keys["customer_id"].combine_chunks())).as_py()
        and pc.all(pc.equal(profiles["cutoff_at"].combine_chunks(), keys["cutoff_at"].combine_chunks())).as_py()
    ):
        raise DataError(
            f"customer_profiles has {len(profiles):,} rows and activity_sequences {len(keys):,} sequences, or not the "
            "same ones; expected one profile row for each: run `dbt build` so that both are of one build"
        )
    age = np.asarray(activities[SECONDS_BEFORE_CUTOFF].cast(pa.float64()))
    if age.min() <= 0:
        raise DataError(f"activity_sequences: {int((age <= 0).sum()):,} rows lie at or after their cutoff; none may")
    monetary = encoding.schema.with_role("monetary")
    money = np.full(len(activities), np.nan)
    if monetary is not None:
        money = np.asarray(
            activities[monetary.column].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
        )
    packed = PackedSequences(
        categories=torch.from_numpy(encoding.categories("sequence", activities)),
        numbers=torch.from_numpy(encoding.numbers("sequence", activities)),
        age=torch.from_numpy(np.ceil(np.minimum(age, 2**31 - 1)).astype(np.int32)),
        money=torch.from_numpy(_bounded(money)),
        offsets=torch.from_numpy(offsets),
        profile_categories=torch.from_numpy(encoding.categories("profile", profiles)),
        profile_numbers=torch.from_numpy(encoding.numbers("profile", profiles)),
    )
    return packed, keys


def _bounded(money: np.ndarray) -> np.ndarray:
    return np.clip(np.where(np.isfinite(money), money, np.nan), -MOST_MONEY, MOST_MONEY).astype(np.float32)


def held_out(customers: pa.ChunkedArray | pa.Array, share: float) -> np.ndarray:
    """Which sequences [n] bool belong to customers kept out of the fit: by a hash of the customer, so that a customer
    is in or out whatever the data around it, and with all of its sequences."""
    codes = pd.util.hash_array(customers.to_numpy(zero_copy_only=False).astype(object), categorize=False)
    return codes % 10_000 < round(share * 10_000)

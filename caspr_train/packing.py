"""Arrow rows of the marts to packed tensors, column by column and a piece at a time: memory does not grow with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from caspr_train.encoding import SECONDS_BEFORE_CUTOFF, Encoding, Rows, chunks
from caspr_train.errors import DataError
from caspr_train.schema import PROFILE_BEGAN_AT
from caspr_train.sequences import ALWAYS, HELD_OUT, LEARNT, Append, PackedSequences, write_packed

KEYS = pa.schema([("customer_id", pa.string()), ("cutoff_at", pa.timestamp("us"))])
KEYS_FILE = "keys.arrow"


def pack(activities: Rows, profiles: Rows, encoding: Encoding) -> tuple[PackedSequences, pa.Table]:
    """Pack the rows of activity_sequences and customer_profiles (each of the same cutoffs) in memory.

    Both must come ordered by (cutoff_at, customer_id), the activities by position within it. Returns the sequences and
    their keys: a table of customer_id and cutoff_at with one row a sequence, in the same order. DataError: no
    activities, positions that do not count, rows at or after their cutoff, or profiles of other customers.
    """
    parts: dict[str, list[np.ndarray]] = defaultdict(list)
    keys: list[pa.Table] = []
    _pack_profiles(profiles, encoding, lambda name, rows: parts[name].append(rows), keys.append)
    known = pa.concat_tables([KEYS.empty_table(), *keys])
    _pack_activities(activities, encoding, lambda name, rows: parts[name].append(rows), known)
    return PackedSequences(**{name: torch.from_numpy(np.concatenate(rows)) for name, rows in parts.items()}), known


def pack_folder(
    folder: Path,
    activities: Rows,
    profiles: Rows,
    encoding: Encoding,
    validation_share: float | None = None,
    learnt_at: datetime | None = None,
) -> None:
    """The same into a folder that PackedSequences.load and `keys_of` read; whole or not there.

    Profiles are read first and to their end. `validation_share` adds which sequences are held out of the fit; none
    are where that would leave no customer to fit on. `learnt_at`: nothing is learnt from sequences of other cutoffs.
    """
    with write_packed(folder) as (draft, append):
        path = draft / KEYS_FILE
        out: list[np.ndarray] = []
        learnt: list[np.ndarray] = []
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, KEYS) as writer:

            def keep(keys: pa.Table) -> None:
                writer.write_table(keys)
                if validation_share is not None:
                    out.append(held_out(keys["customer_id"], validation_share))
                if learnt_at is not None:
                    learnt.append(np.asarray(pc.equal(keys["cutoff_at"], pa.scalar(learnt_at, pa.timestamp("us")))))

            _pack_profiles(profiles, encoding, append, keep)
        _pack_activities(activities, encoding, append, _keys_in(path))
        if validation_share is not None:
            mask = np.concatenate(out)
            here = np.concatenate(learnt) if learnt else np.ones(len(mask), bool)
            append(HELD_OUT, mask & ~mask[here].all())
            if not here.all():
                append(LEARNT, here)


def keys_of(folder: Path) -> pa.Table:
    """customer_id and cutoff_at of the packed folder's sequences, in their order; mapped, not read."""
    return _keys_in(folder / KEYS_FILE)


def _keys_in(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read ({error}); delete its folder and run the command again") from None


def _pack_profiles(profiles: Rows, encoding: Encoding, append: Append, keep: Callable[[pa.Table], None]) -> None:
    for table in chunks(profiles):
        keep(table.select(KEYS.names).cast(KEYS))
        began, cutoff = (np.asarray(table[name].cast(pa.timestamp("us"))) for name in (PROFILE_BEGAN_AT, "cutoff_at"))
        append("profile_age", _whole_seconds((cutoff - began) / np.timedelta64(1, "s")))
        append("profile_categories", encoding.categories("profile", table))
        append("profile_numbers", encoding.numbers("profile", table).astype(np.float16))


def _pack_activities(activities: Rows, encoding: Encoding, append: Append, keys: pa.Table) -> None:
    monetary = encoding.schema.with_role("monetary")
    rows, sequences, late, matching = 0, 0, 0, True
    before = NO_POSITION
    for table in chunks(activities):
        position = np.asarray(table["position"])
        starts = np.flatnonzero(position == 1)
        previous = np.concatenate([[before], position[:-1]])
        if ((position != 1) & (position != previous + 1)).any():
            raise DataError("activity_sequences: position does not count 1, 2, 3 ... within a customer and cutoff")
        before = position[-1]
        found = table.select(KEYS.names).take(pa.array(starts)).cast(KEYS)
        matching = matching and found.equals(keys.slice(sequences, len(starts)))
        age = np.asarray(table[SECONDS_BEFORE_CUTOFF].cast(pa.float64()))
        late += int((age <= 0).sum())
        money = np.full(len(table), np.nan)
        if monetary is not None:
            money = np.asarray(table[monetary.column].cast(pa.float64()))
        append("categories", encoding.categories("sequence", table))
        append("numbers", encoding.numbers("sequence", table).astype(np.float16))
        append("age", _whole_seconds(age))
        append("money", _float32(money))
        append("offsets", starts + rows)
        rows, sequences = rows + len(table), sequences + len(starts)
    if not rows:
        raise DataError(
            "activity_sequences has no rows to pack; expected activities before the cutoff: do "
            "horizon_days and as_of suit this data? Set them and run `dbt build`"
        )
    if not matching or len(keys) != sequences:
        raise DataError(
            f"customer_profiles has {len(keys):,} rows and activity_sequences {sequences:,} sequences, or not the "
            "same ones; expected one profile row for each: run `dbt build` so that both are of one build"
        )
    if late:
        raise DataError(f"activity_sequences: {late:,} rows lie at or after their cutoff; none may")
    append("offsets", np.array([rows]))


NO_POSITION = -(2**40)  # before the first row: only a 1 may follow


def _whole_seconds(age: np.ndarray) -> np.ndarray:
    """Rounded up, int32; ALWAYS where it is more or not known (NaN)."""
    return np.ceil(np.minimum(np.where(np.isnan(age), ALWAYS, age), ALWAYS)).astype(np.int32)


def _float32(money: np.ndarray) -> np.ndarray:
    largest = np.finfo(np.float32).max
    return np.clip(np.where(np.isfinite(money), money, np.nan), -largest, largest).astype(np.float32)


def held_out(customers: pa.ChunkedArray | pa.Array, share: float) -> np.ndarray:
    """Which sequences [n] bool belong to customers kept out of the fit: by a hash of the customer, so that a customer
    is in or out whatever the data around it, and with all of its sequences."""
    return customer_codes(customers) % 10_000 < round(share * 10_000)


def customer_codes(customers: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A hash [n] uint64 of each customer_id."""
    return pd.util.hash_array(customers.to_numpy(zero_copy_only=False).astype(object), categorize=False)


def count_customers(keys: pa.Table, of: np.ndarray) -> int:
    """How many customers have a sequence among those marked in `of` [n] bool; by their hashes, 8 bytes each."""
    codes, place = [], 0
    for batch in keys.to_batches():
        codes.append(customer_codes(batch["customer_id"])[of[place : place + len(batch)]])
        place += len(batch)
    return len(np.unique(np.concatenate(codes)))

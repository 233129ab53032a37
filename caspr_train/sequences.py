"""Sequences as packed tensors: all activities of all customers in flat columns, batches cut out of them by gathers.

Nothing here loops over customers. A *window* is (sequence, instant): the latest t activities of that customer before
that instant. At the cutoff itself that is the customer's sequence; at an earlier instant it is what the sequence was
then, and what lies between the instant and the cutoff is its future, which a training objective may look at.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

# The codes that no value has. A masked event is a zero vector and needs none.
PAD, UNK, MISSING = 0, 1, 2  # no activity here; a value not seen at the train cutoff; the value is null
RESERVED = 3
SECONDS_PER_DAY = 86_400.0

# What the future-window objective predicts, in this order: did anything happen, did money move, how many activities
# (log(1 + n)), how much money (signed logarithm).
FUTURE_TARGETS = ("any_activity", "any_money", "activities", "money")


@dataclass
class PackedSequences:
    """`rows` activities of `n` sequences; sequence i owns rows offsets[i] to offsets[i + 1], oldest first.

    Numbers are standardised, NaN = missing. `age` is in seconds before the sequence's cutoff: never negative, falling.
    """

    categories: Tensor  # [rows, sequence categorical] int16 or int32
    numbers: Tensor  # [rows, sequence numerical + 1] float32; the first is seconds_since_previous
    age: Tensor  # [rows] int32, seconds before the cutoff
    money: Tensor  # [rows] float32 as in the mart, NaN where no money moved
    offsets: Tensor  # [n + 1] int64
    profile_categories: Tensor  # [n, profile categorical] int16 or int32
    profile_numbers: Tensor  # [n, profile numerical] float32

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def to(self, device: torch.device) -> PackedSequences:
        return PackedSequences(**{name: tensor.to(device) for name, tensor in self.tensors().items()})


@dataclass
class Batch:
    """b windows of t activities, aligned to the right: column t - 1 is the latest; `valid` is False on padding."""

    categories: Tensor  # [b, t, sequence categorical] int64, PAD on padding
    numbers: Tensor  # [b, t, sequence numerical + 1] float32, NaN = missing
    days_before: Tensor  # [b, t] float32, standardised log days from the activity to the window's instant
    valid: Tensor  # [b, t] bool
    profile_categories: Tensor  # [b, profile categorical] int64
    profile_numbers: Tensor  # [b, profile numerical] float32, NaN = missing
    # What follows the window; only objectives look at it, the encoder never does.
    next_categories: Tensor | None = None  # [b, sequence categorical] int64, PAD where nothing is known
    next_numbers: Tensor | None = None  # [b, sequence numerical + 1] float32, NaN where nothing is known
    future: Tensor | None = None  # [b, len(FUTURE_TARGETS)] float32, NaN where the horizon would pass the cutoff


@dataclass
class Windows:
    """Cuts batches of windows of t activities out of packed sequences. All work is done on the sequences' device."""

    sequences: PackedSequences
    t: int
    days_scaler: tuple[float, float]  # mean and scale of log(1 + days before the instant)
    horizon_seconds: int = 0

    def __post_init__(self) -> None:
        s = self.sequences
        # One sorted key for all rows, so that "how many activities before this instant" is one binary search for any
        # number of sequences: sequence number, then time, growing within a sequence.
        owner = torch.repeat_interleave(torch.arange(len(s), device=s.offsets.device), s.offsets.diff())
        self._key = owner * _SPAN - s.age
        if self.horizon_seconds:
            moved = ~torch.isnan(s.money)
            self._money_moves = _running_sum(moved.double())
            self._money_sum = _running_sum(s.money.nan_to_num().double())

    def oldest_age(self) -> Tensor:
        """Seconds from the oldest kept activity of each sequence to the cutoff, [n] int64."""
        return self.sequences.age[self.sequences.offsets[:-1]].long()

    def random_instants(self, generator: torch.Generator) -> Tensor:
        """An instant for each sequence, in seconds before its cutoff, [n] int64: uniform from just after the oldest
        kept activity to the cutoff, so that every window holds at least one activity."""
        oldest = self.oldest_age()
        share = torch.rand(len(oldest), generator=generator, dtype=torch.float64).to(oldest.device)
        return (share * oldest).long()

    def cut(self, which: Tensor, instant: Tensor | None = None) -> Batch:
        """The windows of sequences `which` [b] that end `instant` [b] seconds before the cutoff (None: at it)."""
        s = self.sequences
        start = s.offsets[which]
        if instant is None:
            instant = torch.zeros_like(which)
            end = s.offsets[which + 1]
        else:
            end = self._rows_before(which, instant)
        rows = end[:, None] + torch.arange(-self.t, 0, device=which.device)
        valid = rows >= start[:, None]
        rows = torch.where(valid, rows, start[:, None])
        days = (s.age[rows].long() - instant[:, None]).float() / SECONDS_PER_DAY
        mean, scale = self.days_scaler
        batch = Batch(
            categories=torch.where(valid[..., None], s.categories[rows].long(), PAD),
            numbers=s.numbers[rows],
            days_before=(torch.log1p(days) - mean) / scale,
            valid=valid,
            profile_categories=s.profile_categories[which].long(),
            profile_numbers=s.profile_numbers[which],
        )
        # The oldest activity of a history cut by history_length has a predecessor, the oldest of a window too: its gap
        # is kept, since it is known at the instant.
        return batch if not self.horizon_seconds else self._with_future(batch, which, end, instant)

    def _rows_before(self, which: Tensor, instant: Tensor) -> Tensor:
        """One past the last row of each sequence whose activity lies before the instant (half open, as everywhere)."""
        return torch.searchsorted(self._key, which * _SPAN - instant, right=False)

    def _with_future(self, batch: Batch, which: Tensor, end: Tensor, instant: Tensor) -> Batch:
        s = self.sequences
        known = end < s.offsets[which + 1]
        row = torch.where(known, end, end - 1)
        until = self._rows_before(which, instant - self.horizon_seconds)
        count = (until - end).double()
        moves = self._money_moves[until] - self._money_moves[end]
        money = self._money_sum[until] - self._money_sum[end]
        future = torch.stack(
            [(count > 0).double(), (moves > 0).double(), torch.log1p(count), money.sign() * money.abs().log1p()], dim=1
        )
        # A horizon that passes the cutoff is not known: the sequence ends there, the customer's life need not.
        future[instant < self.horizon_seconds] = torch.nan
        return replace(
            batch,
            next_categories=torch.where(known[:, None], s.categories[row].long(), PAD),
            next_numbers=torch.where(known[:, None], s.numbers[row], torch.nan),
            future=future.float(),
        )


_SPAN = 2**32  # above any age in seconds, so that the keys of two sequences never meet


def _running_sum(values: Tensor) -> Tensor:
    """Sums before each row, one longer than `values`: the sum of rows i to j - 1 is out[j] - out[i]."""
    return torch.cat([values.new_zeros(1), values.cumsum(0)])

"""Sequences as packed tensors: all activities of all customers in flat columns, batches cut out of them by gathers.

Nothing here loops over customers. A *window* is (sequence, instant): the latest t activities of that customer before
that instant. At the cutoff itself that is the customer's sequence; at an earlier instant it is what the sequence was
then, and what lies between the instant and the cutoff is its future, which a training objective may look at.
"""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from caspr_train.errors import DataError
from caspr_train.files import whole_folder

# The codes that no value has. A masked event is a zero vector and needs none.
PAD, UNK, MISSING = 0, 1, 2  # no activity here; a value not seen at the train cutoff; the value is null
RESERVED = 3
SECONDS_PER_DAY = 86_400.0
ALWAYS = 2**31 - 1  # seconds before the cutoff: earlier than any instant
SLICE = 65_536  # sequences looked at together where all are: mapped ones may be larger than the memory

# What the future-window objective predicts, in this order: did anything happen, did money move, how many activities
# (log(1 + n)), how much money (signed logarithm); within the horizon and within these shares of it, because a history
# that is shorter than the horizon has no window whose whole horizon is known.
FUTURE_TARGETS = ("any_activity", "any_money", "activities", "money")
HORIZON_SHARES = (1.0, 0.25, 0.0625)
MOST_COUNTED = 32  # values of an attribute that are counted one by one


def counted(cardinalities: list[int]) -> tuple[tuple[int, int], ...]:
    """The categorical attributes, by their place, whose values are counted one by one, and their cardinalities."""
    return tuple((place, n) for place, n in enumerate(cardinalities) if RESERVED < n <= MOST_COUNTED + RESERVED)


@dataclass
class PackedSequences:
    """`rows` activities of `n` sequences; sequence i owns rows offsets[i] to offsets[i + 1], oldest first.

    Numbers are standardised, NaN = missing. They are kept in half precision: within ±10 scales it is off by less than
    0.004 of a standard deviation, which no model sees, and a million sequences of 15 activities with 6 categories and
    6 numbers take 0.5 GB. `age` is in seconds before the sequence's cutoff: never negative, falling.

    In memory, or mapped from a folder of one .npy file a tensor: then pages come from the disk as they are touched,
    the system drops them when it needs the memory, and all processes of a machine share them.
    """

    categories: Tensor  # [rows, sequence categorical] int16 or int32
    numbers: Tensor  # [rows, sequence numerical + 1] float16; the first is seconds_since_previous
    age: Tensor  # [rows] int32, seconds before the cutoff
    money: Tensor  # [rows] float32 as in the mart, NaN where no money moved
    offsets: Tensor  # [n + 1] int64
    profile_age: Tensor  # [n] int32, seconds from when the profile began to hold to the cutoff, ALWAYS if nobody knows
    profile_categories: Tensor  # [n, profile categorical] int16 or int32
    profile_numbers: Tensor  # [n, profile numerical] float16

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def to(self, device: torch.device) -> PackedSequences:
        return PackedSequences(**{name: tensor.to(device) for name, tensor in self.tensors().items()})

    @property
    def device(self) -> torch.device:
        return self.offsets.device

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def count_values(self, of: Tensor, cardinalities: list[int]) -> list[Tensor]:
        """How many activities of the sequences marked in `of` [n] bool have each code: [cardinality] int64 for each
        categorical attribute."""
        of = of.to(self.device)
        counts = [torch.zeros(n, dtype=torch.int64, device=self.device) for n in cardinalities]
        for first in range(0, len(self), SLICE):
            offsets = self.offsets[first : first + SLICE + 1]
            mine = of[first : first + SLICE].repeat_interleave(offsets.diff())
            for count, codes in zip(counts, self.categories[offsets[0] : offsets[-1]][mine].unbind(1), strict=True):
                count += torch.bincount(codes, minlength=len(count))
        return counts

    def placed(self, device: torch.device) -> PackedSequences:
        """On the device if it is a GPU with free memory for twice their size, else as they are: see `batches`."""
        if device.type != "cuda" or 2 * self.nbytes > torch.cuda.mem_get_info(device)[0]:
            return self
        return self.to(device)

    def save(self, folder: Path, held_out: Tensor | None = None) -> None:
        """Write the folder that `load` reads; it is whole or not there. `held_out` [n] bool: see `load_split`."""
        with write_packed(folder) as (_, append):
            for name, tensor in self.tensors().items():
                append(name, tensor.cpu().numpy())
            if held_out is not None:
                append(HELD_OUT, held_out.numpy())

    @classmethod
    def load(cls, folder: Path) -> PackedSequences:
        """Map the folder's files, read-only. DataError: one of them is missing, cut short or of other rows."""
        packed = cls(**{f.name: _mapped(folder, f.name) for f in fields(cls)})
        rows = int(packed.offsets[-1]) if len(packed.offsets) else -1
        of_rows = {"categories", "numbers", "age", "money"}
        for name, tensor in packed.tensors().items():
            expected = rows if name in of_rows else len(packed) + (name == "offsets")
            if len(tensor) != expected:
                raise DataError(f"{folder / name}.npy has {len(tensor):,} rows, expected {expected:,}; delete {folder}")
        return packed


HELD_OUT, LEARNT = "held_out", "learnt"
Append = Callable[[str, np.ndarray], None]


def load_split(folder: Path) -> tuple[Tensor, Tensor]:
    """Which sequences of the packed folder are fitted on and which are held out to validate, [n] bool each.

    Neither are those of later train cutoffs, if there are several: at the first one the encoder must not know them.
    """
    held_out = _mapped(folder, HELD_OUT)
    if not (folder / f"{LEARNT}.npy").exists():
        return ~held_out, held_out
    learnt = _mapped(folder, LEARNT)
    return learnt & ~held_out, learnt & held_out


def _mapped(folder: Path, name: str) -> Tensor:
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({' '.join(str(error).split())}); expected a file of a packed folder: "
            f"delete {folder}"
        ) from None
    with warnings.catch_warnings():
        # That the pages cannot be written is the point. (A private copy, mode "c", is refused by the system where it is
        # larger than the memory.)
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


@contextmanager
def write_packed(folder: Path) -> Iterator[tuple[Path, Append]]:
    """A draft of `folder` and append(name, rows), which adds rows to its file name.npy.

    After the block the folder is whole, after an error not there. Files are written, not mapped: what is written leaves
    this process's memory at once.
    """
    files: dict[str, BinaryIO] = {}
    shapes: dict[str, tuple[np.dtype, list[int]]] = {}
    with whole_folder(folder) as draft:
        try:

            def append(name: str, rows: np.ndarray) -> None:
                if name not in files:
                    files[name] = (draft / f"{name}.npy").open("wb")
                    shapes[name] = (rows.dtype, [0, *rows.shape[1:]])
                    _write_header(files[name], *shapes[name])
                dtype, shape = shapes[name]
                assert rows.dtype == dtype and list(rows.shape[1:]) == shape[1:], (name, rows.dtype, rows.shape)
                shape[0] += len(rows)
                files[name].write(np.ascontiguousarray(rows).data.cast("B") if rows.size else b"")

            yield draft, append
            for name, file in files.items():
                file.seek(0)
                _write_header(file, *shapes[name])
        finally:
            for file in files.values():
                file.close()


def _write_header(file: BinaryIO, dtype: np.dtype, shape: list[int]) -> None:
    """numpy leaves room in a header for more digits of the first axis, so that it can be written again at the end."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)


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
    # [b, horizons, len(FUTURE_TARGETS)] float32, NaN where a horizon would pass the cutoff
    future: Tensor | None = None
    # [b, horizons, contents] float32: of those activities the means of the numbers, NaN also where no number is known,
    # and how many have each value of the counted attributes, log(1 + n)
    content: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor changed."""
        return replace(self, **{f.name: change(v) for f in fields(self) if (v := getattr(self, f.name)) is not None})

    def split(self, size: int) -> list[Batch]:
        """Batches of at most `size` of its windows, in order; views of its tensors."""
        starts = range(0, len(self.valid), size)
        return [self.map(lambda tensor, at=start: tensor[at : at + size]) for start in starts]  # type: ignore[misc]

    def by_length(self, size: int, worth: int) -> list[tuple[Batch, Tensor]]:
        """Batches of windows of about one length, shortest first, without the places before their longest; and which
        windows [n] each is of.

        At most `size` windows a batch, and a batch is cut in two where that leaves out more than `worth` places. Which
        window goes where depends on the lengths alone, so that a step stays a function of its number.
        """
        lengths, order = self.valid.sum(1).sort(stable=True)
        found, to_cut = [], [(0, len(order))]
        while to_cut:
            first, end = to_cut.pop()
            # What the places of the first i + 1 of them are fewer by where they stand alone.
            saved = (lengths[end - 1] - lengths[first:end]) * torch.arange(1, end - first + 1)
            best = int(saved.argmax())
            if saved[best] > worth or end - first > size:
                middle = first + 1 + best if saved[best] > worth else (first + end) // 2
                to_cut += [(middle, end), (first, middle)]
                continue
            which, beginning = order[first:end], self.valid.shape[1] - int(lengths[end - 1])
            cut = {f: getattr(self, f)[which, beginning:] for f in ("categories", "numbers", "days_before", "valid")}
            found.append((replace(self.map(lambda tensor, at=which: tensor[at]), **cut), which))  # type: ignore[misc]
        return found

    def halves(self) -> tuple[Batch, Batch]:
        """The older and the newer half of each window, batches of the same t. Of an odd number the newer half has one
        activity more; of a single activity both have it. The time to the instant, which would tell that the one ends
        where the other begins, is missing in both, and what follows the window is left out."""
        t, count = self.valid.shape[1], self.valid.sum(1, keepdim=True)
        newer = count - count // 2
        place = torch.arange(t, device=self.valid.device)
        days_before = torch.full_like(self.days_before, torch.nan)
        alone = replace(self, next_categories=None, next_numbers=None, future=None, content=None)
        last = replace(alone, valid=self.valid & (place >= t - newer), days_before=days_before)
        from_place = (place - newer.clamp(max=count - 1)).clamp(min=0)
        is_older = place >= t - (count - newer).clamp(min=1)
        first = replace(
            last,
            categories=self.categories.gather(1, from_place[..., None].expand_as(self.categories)),
            numbers=self.numbers.gather(1, from_place[..., None].expand_as(self.numbers)),
            valid=is_older,
        )
        return first.without_padding(), last.without_padding()

    def without_padding(self) -> Batch:
        """The same with PAD and NaN where `valid` is False."""
        gone = ~self.valid[..., None]
        return replace(
            self,
            categories=self.categories.masked_fill(gone, PAD),
            numbers=self.numbers.masked_fill(gone, torch.nan),
        )


@dataclass
class Windows:
    """Cuts batches of windows of t activities out of packed sequences. All work is done on the sequences' device.

    Nothing is derived for all rows: a batch touches the rows of its own sequences only.
    """

    sequences: PackedSequences
    t: int
    days_scaler: tuple[float, float]  # mean and scale of log(1 + days before the instant)
    horizon_seconds: int = 0
    counted: tuple[tuple[int, int], ...] = ()  # see the function of this name

    def __post_init__(self) -> None:
        s = self.sequences
        self._longest = int(s.offsets.diff().max()) if len(s) else 0  # at most history_length

    def oldest_age(self) -> Tensor:
        """Seconds from the oldest kept activity of each sequence to the cutoff, [n] int32."""
        return self.sequences.age[self.sequences.offsets[:-1]]

    def random_instants(self, generator: torch.Generator) -> Tensor:
        """An instant for each sequence, in seconds before its cutoff, [n] int64: uniform from just after the oldest
        kept activity to the cutoff, so that every window holds at least one activity."""
        oldest = self.oldest_age()
        share = torch.rand(len(oldest), generator=generator, dtype=torch.float64).to(oldest.device)
        return share.mul_(oldest).long()

    def cut(self, which: Tensor, instant: Tensor | None = None) -> Batch:
        """The windows of sequences `which` [b] that end `instant` [b] seconds before the cutoff (None: at it)."""
        s = self.sequences
        start = s.offsets[which]
        if instant is None:
            instant = torch.zeros_like(which)
            end = s.offsets[which + 1]
        else:
            end = self._rows_before(which, instant)
        back = torch.arange(self.t, 0, -1, device=which.device)
        valid = back <= (end - start)[:, None]
        age, categories, numbers = (self._before(x, end) for x in (s.age, s.categories, s.numbers))
        mean, scale = self.days_scaler
        days = torch.log1p((age - instant[:, None]).float() / SECONDS_PER_DAY).sub_(mean).div_(scale)
        categories, numbers = categories.long(), numbers.float()
        if valid.device.type != "cpu" or not valid.all():
            padding = ~valid
            categories.masked_fill_(padding[..., None], PAD)
            numbers.masked_fill_(padding[..., None], torch.nan)
            days.masked_fill_(padding, torch.nan)
        # A profile that began later would tell the window its future; at the cutoff all have begun.
        not_yet = (s.profile_age[which] <= instant)[:, None]
        batch = Batch(
            categories=categories,
            numbers=numbers,
            days_before=days,
            valid=valid,
            profile_categories=s.profile_categories[which].long().masked_fill_(not_yet, MISSING),
            profile_numbers=s.profile_numbers[which].float().masked_fill_(not_yet, torch.nan),
        )
        # The oldest activity of a history cut by history_length has a predecessor, the oldest of a window too: its gap
        # is kept, since it is known at the instant.
        return batch if not self.horizon_seconds else self._with_future(batch, which, end, instant)

    def input_hash(self, which: Tensor) -> np.ndarray:
        """A hash [b] int64 of all that a model sees of the sequences at their cutoff, window and profile.

        Of what is packed, before it is made floating point: it is the same on every device.
        """
        s = self.sequences
        hashes = [np.empty(0, np.int64)]
        for part in which.split(4096):  # fits the cache
            rows, valid = self._rows(s.offsets[part], s.offsets[part + 1])
            seen = [
                s.categories[rows],
                s.numbers[rows],
                s.age[rows],
                s.profile_categories[part],
                s.profile_numbers[part],
            ]
            columns = [tensor.flatten(1).numpy() for tensor in (*seen, valid.sum(1, keepdim=True))]
            columns = [np.ascontiguousarray(column).view(np.uint8) for column in columns]
            columns.append(np.zeros((len(part), -sum(c.shape[1] for c in columns) % 8), np.uint8))
            hashes.append(_hash_rows(np.hstack(columns).view(np.uint64)))
        return np.concatenate(hashes)

    def _rows(self, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """The t rows before `end` [b], not before `start` [b]: [b, t], and [b, t] bool, False on padding."""
        rows = end[:, None] + torch.arange(-self.t, 0, device=end.device)
        valid = rows >= start[:, None]
        return torch.where(valid, rows, start[:, None]), valid

    def _before(self, column: Tensor, end: Tensor) -> Tensor:
        """The t rows [b, t, ...] before each `end` [b], whoever owns them; for want of rows the first of all.

        They lie side by side: copied as one stretch a window they take a quarter of the time of a gather row by row.
        """
        t, first = self.t, end - self.t
        if column.device.type == "cpu" and len(first) and int(first.min()) >= 0:
            width = column[0].numel()
            stretches = column.as_strided((len(column) - t + 1, t * width), (width, 1))
            return stretches.index_select(0, first).view(len(end), t, *column.shape[1:])
        return column[(first[:, None] + torch.arange(t, device=end.device)).clamp(min=0)]

    def _rows_before(self, which: Tensor, instant: Tensor) -> Tensor:
        """One past the last row of each sequence whose activity lies before the instant (half open, as everywhere)."""
        s = self.sequences
        low, high = s.offsets[which], s.offsets[which + 1]
        for _ in range(self._longest.bit_length()):  # bisection, of all sequences at once
            middle = (low + high) // 2
            # Where low has met high there may be no such row, and nothing is left to find.
            before = (s.age[middle.clamp(max=len(s.age) - 1)] > instant) & (low < high)
            low, high = torch.where(before, middle + 1, low), torch.where(before, high, middle)
        return low

    def _with_future(self, batch: Batch, which: Tensor, end: Tensor, instant: Tensor) -> Batch:
        s = self.sequences
        known = end < s.offsets[which + 1]
        row = torch.where(known, end, end - 1)
        rows = end[:, None] + torch.arange(self._longest, device=which.device)
        untils = [self._rows_before(which, instant - self._horizon(share)) for share in HORIZON_SHARES]
        if rows.device.type == "cpu":  # to ask a GPU how many are enough is to wait for it; there all are looked at
            rows = rows[:, : max((int((until - end).max()) for until in untils if len(until)), default=0)]
        inside = rows.clamp(max=len(s.money) - 1)
        spent, numbers, categories = s.money[inside].double(), s.numbers[inside].float(), s.categories[inside]
        futures, contents = [], []
        for share, until in zip(HORIZON_SHARES, untils, strict=True):
            horizon, there = self._horizon(share), rows < until[:, None]
            count = (until - end).double()
            moved = there & ~torch.isnan(spent)
            money = torch.where(moved, spent, 0.0).sum(1)
            targets = [(count > 0).double(), moved.any(1).double(), count.log1p(), money.sign() * money.abs().log1p()]
            # A horizon that passes the cutoff is not known: the sequence ends there, the customer's life need not.
            passes = (instant < horizon)[:, None]
            futures.append(torch.stack(targets, dim=1).masked_fill(passes, torch.nan))
            content = [numbers.masked_fill(~there[..., None], torch.nan).nanmean(1)]
            for place, values in self.counted:
                codes = categories[..., place].long().masked_fill(~there, PAD)
                found = torch.zeros(len(codes), values, device=codes.device)
                found.scatter_add_(1, codes, torch.ones_like(codes, dtype=found.dtype))
                content.append(found[:, RESERVED:].log1p())
            contents.append(torch.cat(content, dim=1).masked_fill(passes, torch.nan))
        return replace(
            batch,
            next_categories=torch.where(known[:, None], s.categories[row].long(), PAD),
            next_numbers=torch.where(known[:, None], s.numbers[row].float(), torch.nan),
            future=torch.stack(futures, dim=1).float(),
            content=torch.stack(contents, dim=1),
        )

    def _horizon(self, share: float) -> int:
        return max(1, round(share * self.horizon_seconds))


def _hash_rows(words: np.ndarray) -> np.ndarray:
    """A hash [b] int64 of each row of `words` [b, k] uint64: each word mixed with its place, the sum mixed again.

    The mixing is that of splitmix64 (Steele, Lea, Flood 2014): https://doi.org/10.1145/2660193.2660195
    """
    places = np.arange(1, words.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return _mixed(_mixed(words + _mixed(places)).sum(axis=1, dtype=np.uint64)).view(np.int64)


def _mixed(words: np.ndarray) -> np.ndarray:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


# A window to cut: which sequences [b], and the instants [b] they end at (None: the cutoff), as for Windows.cut.
Cut = tuple[Tensor, Tensor | None]


def batches(windows: Windows, cuts: Iterable[Cut], device: torch.device, ahead: int | None = None) -> Iterator[Batch]:
    """The batch of each cut, in order, on the device.

    Sequences that lie there already are cut there. Others are cut on the host, `ahead` batches (default 2) before they
    are asked for, by a thread of its own, into pinned memory that the GPU copies from while it computes. The batches
    are the same either way. An error while cutting is raised at its batch; who stops early stops the thread.
    """
    if ahead is None:
        ahead = 0 if windows.sequences.device == device else 2
    if not ahead:
        host = windows.sequences.device
        for cut in cuts:
            yield _cut(windows, cut, host).map(lambda tensor: tensor.to(device))
        return
    ready: queue.Queue[tuple[Batch | None, BaseException | None]] = queue.Queue(ahead)
    stop = threading.Event()

    def put(*item: Any) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for cut in cuts:
                batch = _cut(windows, cut, windows.sequences.device)
                put(batch.map(Tensor.pin_memory) if device.type == "cuda" else batch, None)
                if stop.is_set():
                    return
            put(None, None)
        except BaseException as error:  # it belongs to whoever waits for the batch
            put(None, error)

    thread = threading.Thread(target=work, name="caspr_train.batches", daemon=True)
    thread.start()
    try:
        while True:
            batch, error = ready.get()
            if error is not None:
                raise error
            if batch is None:
                return
            yield batch.map(lambda tensor: tensor.to(device, non_blocking=True))
    finally:
        stop.set()
        thread.join()


def _cut(windows: Windows, cut: Cut, device: torch.device) -> Batch:
    which, instant = cut
    return windows.cut(which.to(device), None if instant is None else instant.to(device))

"""Checkpoints of a training: two files each, whole or not there, and always the two newest of them.

`step-00000120.safetensors` holds tensors (weights, the optimiser's moments, the best weights so far), the JSON beside
it everything else and the checksum of the tensors. The JSON is written last: without it there is no checkpoint.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from caspr_train.errors import DataError
from caspr_train.files import whole

FORMAT = 1
KEPT = 2  # if the newest turns out to be damaged, the one before it is there


@dataclass
class Progressed:
    """How far a training has come; with the weights and the optimiser's state, all that it goes on from."""

    step: int = 0  # steps done
    loss_sum: float = 0.0  # of the steps done of this epoch
    history: list[dict[str, Any]] = field(default_factory=list)  # an entry an epoch
    best_loss: float | None = None  # the lowest validation loss, after `best_step` steps
    best_step: int | None = None
    worse: int = 0  # validations in a row that were no better
    validation: dict[str, Any] | None = None  # of the weights that are kept if nothing better comes
    seconds: float = 0.0  # spent in steps
    sequences: int = 0  # worked through
    resumed: int = 0  # how many times


def save(
    folder: Path,
    identity: Mapping[str, Any],
    progressed: Progressed,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Mapping[str, Tensor] | None,
) -> None:
    """Write the checkpoint of `progressed.step` and remove all but it and the one before.

    `identity` says whose checkpoint this is (see `expect_same`). DataError: the disk is full or not to be written to;
    what was there before stays as it was.
    """
    name = f"step-{progressed.step:08d}"
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
    tensors |= {f"best.{key}": value for key, value in (best or {}).items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole(folder / f"{name}.safetensors") as draft:
            checksum = _write_tensors(draft, tensors)
        said = {"format": FORMAT, "sha256": checksum, "identity": dict(identity), "progressed": asdict(progressed)}
        with whole(folder / f"{name}.json") as draft:
            _write(draft, json.dumps(said, indent=1).encode())
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        kept = found(folder)
        if all(here.step != progressed.step for here in kept):
            (folder / f"{name}.safetensors").unlink(missing_ok=True)
        raise DataError(
            f"no checkpoint could be written to {folder} at step {progressed.step}: {reason}. "
            + (f"The one of step {kept[0].step} is intact" if kept else "There is none from before")
            + "; make room and run the same command again"
        ) from None
    # One of a later step is damaged, or of a training that was begun anew: nobody goes on from it.
    later = [here for here in found(folder) if here.step > progressed.step]
    for old in [*later, *found(folder)[len(later) + KEPT :]]:
        old.description.unlink(missing_ok=True)  # first what makes it a checkpoint
        old.tensors.unlink(missing_ok=True)


@dataclass
class Found:
    """A checkpoint's files."""

    step: int
    description: Path
    tensors: Path


def found(folder: Path) -> list[Found]:
    """The checkpoints in the folder, newest first."""
    files = sorted(folder.glob("step-*.json"), reverse=True)
    return [Found(int(f.stem.removeprefix("step-")), f, f.with_suffix(".safetensors")) for f in files]


@dataclass
class Checkpoint:
    """What the files of a checkpoint say."""

    identity: dict[str, Any]
    progressed: Progressed
    tensors: dict[str, Tensor]


def read(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, if there is one; a sentence on each damaged one that is newer."""
    damaged: list[str] = []
    for here in found(folder):
        try:
            said = json.loads(here.description.read_text(encoding="utf-8"))
            if said["format"] != FORMAT:
                raise ValueError(f"format {said['format']}, this version reads {FORMAT}")
            tensors = _read_tensors(here.tensors, said["sha256"])
            return Checkpoint(said["identity"], Progressed(**said["progressed"]), tensors), damaged
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = " ".join(str(error).split())[:160]
            damaged.append(f"the checkpoint {here.description.with_suffix('')} is damaged ({why})")
    return None, damaged


def newest(folder: Path, identity: Mapping[str, Any]) -> tuple[Progressed, dict[str, Tensor]] | None:
    """The newest checkpoint that is whole: how far it had come, and its tensors by name. None: there is none.

    A damaged one is passed over and said so. DataError: it belongs to another training.
    """
    kept, damaged = read(folder)
    if damaged:
        following = f"going on from that of step {kept.progressed.step}" if kept else "beginning anew"
        print("; ".join([*damaged, following]), file=sys.stderr, flush=True)
    if kept is None:
        return None
    expect_same(folder, kept.identity, identity)
    return kept.progressed, kept.tensors


def expect_same(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """DataError, naming the keys that differ, unless both are the same training."""
    names = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    if names:
        differ = "; ".join(
            f"{key} is {_short(theirs.get(key))} there and {_short(ours.get(key))} here" for key in names
        )
        raise DataError(
            f"{folder} belongs to another training: {differ}. Train into a folder of its own (leave --resume out), or "
            "give the data and options that it began with"
        )


def to_bytes(read: tuple[Progressed, dict[str, Tensor]] | None) -> bytes:
    """What `newest` gave, to be sent to other processes; empty for none."""
    import safetensors.torch

    if read is None:
        return b""
    return safetensors.torch.save(read[1], {"progressed": json.dumps(asdict(read[0]))})


def from_bytes(data: bytes) -> tuple[Progressed, dict[str, Tensor]]:
    """The other end of `to_bytes`."""
    import safetensors.torch

    # The header is JSON behind its own length: https://huggingface.co/docs/safetensors/index#format
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return Progressed(**json.loads(header["__metadata__"]["progressed"])), safetensors.torch.load(data)


def restore(
    progressed: Progressed, tensors: dict[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Put the tensors where they belong; the best weights so far, empty before the first validation."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "best": {}}
    for name, tensor in tensors.items():
        part, key = name.split(".", 1)
        parts[part][key] = tensor
    model.load_state_dict(parts["model"])
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    progressed.resumed += 1
    return parts["best"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _write(path: Path, data: bytes) -> None:
    """Write the data, flushed to the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write the tensors; the checksum of the file."""
    import safetensors.torch

    data = safetensors.torch.save({key: value.detach().contiguous().cpu() for key, value in tensors.items()})
    _write(path, data)
    return hashlib.sha256(data).hexdigest()


def _read_tensors(path: Path, checksum: str) -> dict[str, Tensor]:
    import safetensors.torch

    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != checksum:
        raise ValueError(f"{len(data):,} bytes that do not match the checksum: cut short or changed")
    return safetensors.torch.load(data)


def save_batch(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Tensors that somebody has to look at, in one file."""
    with whole(path) as draft:
        _write_tensors(draft, {key: value for key, value in tensors.items() if isinstance(value, Tensor)})

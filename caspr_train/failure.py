"""What a process says when it fails: one line for what its user can mend, the whole traceback for a bug."""

from __future__ import annotations

import json
import re
import traceback
from dataclasses import asdict, dataclass

from caspr_train.errors import CasprError, DataError

# Texts of CUDA, NCCL and gloo, and what to do about them. `{where}` is the device, `{said}` their own first line.
DEVICE_ERRORS = (
    (
        r"out of memory",
        "{where} is out of memory ({said}); end what else runs there, train with a smaller --batch-size or on more "
        "GPUs, or embed with --gpus 0",
    ),
    (
        r"busy or unavailable|DevicesUnavailable|all CUDA-capable devices are busy",
        "{where} is busy ({said}); end what holds it, or choose others with CUDA_VISIBLE_DEVICES",
    ),
    (
        r"no CUDA-capable device|invalid device ordinal|cudaErrorNoDevice|No CUDA GPUs are available",
        "{where} is not there ({said}); see `nvidia-smi` and CUDA_VISIBLE_DEVICES, or use --gpus 0",
    ),
    (
        r"Duplicate GPU detected",
        "{where} was given to two processes ({said}); start as many processes on a host as it has GPUs",
    ),
    (
        r"uncorrectable (?:ECC|NVLink)|unspecified launch failure|GPU is lost|fallen off the bus|device lost"
        r"|hardware stack error|driver shutting down",
        "{where} is lost ({said}); see `nvidia-smi` and the system's log, and start again without it",
    ),
)
# What the others of a group see of a process that is gone. It says nothing of why.
LOST = re.compile(
    r"Connection (?:closed|reset|refused)|closed by peer|Broken pipe|remote process (?:has )?exit|ncclRemoteError"
    r"|Socket Timeout|Timed out waiting|failed to recv|Failed to recv|sendBytes failed|recvBytes|connectFullMesh"
)
DEVICE_LIBRARY = re.compile(r"CUDA|cuda|NCCL|nccl|GPU")


class Elsewhere(Exception):
    """Another process failed, and this one leaves with it."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


@dataclass(frozen=True)
class Failure:
    rank: int
    count: int
    host: str
    message: str
    exit_code: int
    trace: str | None  # of a bug; None for what the user can mend
    is_lost: bool = False  # known only from a connection that broke

    @classmethod
    def of(cls, error: BaseException, rank: int, count: int, device: str, host: str = "") -> Failure:
        """What process `rank` of `count` has to say about `error`, which it met while it worked on `device`."""
        if isinstance(error, KeyboardInterrupt):
            return cls(rank, count, host, "interrupted", 130, None)
        known = error if isinstance(error, CasprError) else device_error(error, device)
        if known is not None:
            return cls(rank, count, host, str(known), known.exit_code, None)
        if is_lost_connection(error):
            return cls(rank, count, host, lost("another process"), DataError.exit_code, None, is_lost=True)
        if isinstance(error, OSError):
            return cls(rank, count, host, str(error), DataError.exit_code, None)
        trace = "".join(traceback.format_exception(error))
        return cls(rank, count, host, f"{type(error).__name__}: {error}", DataError.exit_code, trace)

    @classmethod
    def from_json(cls, text: str) -> Failure:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def said(self) -> str:
        return f"process {self.rank} of {self.count}: {self.message}"

    def __str__(self) -> str:
        """One line, or for a bug the traceback and then one line."""
        return (self.trace or "") + self.said

    def as_error(self) -> BaseException:
        """The error to raise in the process that started the others."""
        if self.trace:
            return RuntimeError(f"process {self.rank} of {self.count} failed\n\n{self.trace}")
        if self.exit_code == 130:
            return KeyboardInterrupt(str(self))
        kinds = {kind.exit_code: kind for kind in (CasprError, *CasprError.__subclasses__())}
        return kinds.get(self.exit_code, DataError)(str(self))


def device_error(error: BaseException, device: str = "") -> DataError | None:
    """One line for a GPU that is full, busy, missing or lost; None for every other error."""
    text = str(error)
    if not isinstance(error, RuntimeError) or not DEVICE_LIBRARY.search(f"{type(error).__name__} {text}"):
        return None
    where = f"GPU {device.removeprefix('cuda:')}" if device.startswith("cuda") else "the GPU"
    for pattern, message in DEVICE_ERRORS:
        found = re.search(pattern, text)
        if found:
            said = next(line for line in text.splitlines() if re.search(pattern, line))
            said = re.split(r"(?<=\w{3})\. ", said.strip())[0]
            return DataError(message.format(where=where, said=said.rstrip(".")))
    return None


def is_lost_connection(error: BaseException) -> bool:
    """Whether this is how a process of a group learns that another is gone."""
    return isinstance(error, (RuntimeError, ConnectionError)) and bool(LOST.search(str(error)))


def lost(who: str) -> str:
    return (
        f"{who} ended without a word; the usual cause is memory: use fewer processes on a host or a smaller "
        "--batch-size, and see the system's log"
    )

"""Processes: one function run by N of them, with NCCL on GPUs and gloo on CPUs."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from caspr_train.errors import CasprError, DataError, UsageError
from caspr_train.files import whole


@dataclass(frozen=True)
class Processes:
    """How a run is spread: `gpus` GPUs with a process each, or (gpus = 0) `count` processes on the CPU."""

    gpus: int
    count: int

    @classmethod
    def choose(cls, gpus: int | None, processes: int | None) -> Processes:
        """From the command line: nothing asked means all GPUs there are, or one process on the CPU."""
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for name, value, least in (("--gpus", gpus, 0), ("--processes", processes, 1)):
            if value is not None and value < least:
                raise UsageError(f"{name} {value}: expected a whole number of {least} or more")
        if gpus is not None and gpus > found:
            raise UsageError(
                f"--gpus {gpus}: asked for {gpus}, found {found} on this machine; use --gpus {found}"
                + ("" if found else ", with --processes N for N processes on the CPU")
            )
        gpus = found if gpus is None and processes is None else gpus or 0
        if gpus and processes not in (None, gpus):
            raise UsageError(f"--gpus {gpus} --processes {processes}: a GPU has one process; leave --processes out")
        return cls(gpus, gpus or processes or 1)

    def __str__(self) -> str:
        if self.gpus:
            return f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}"
        return "the CPU" if self.count == 1 else f"{self.count} processes on the CPU"


def launch(work: Callable[..., Any], processes: Processes, folder: Path, *arguments: Any) -> None:
    """Run `work(rank, count, device, *arguments)` in every process; return when all have.

    One process runs here; several are spawned, meet through a file in `folder` (no port to find taken), and hold a
    process group while they work. An error in one ends the others: one that is meant for the user is raised here as
    itself, any other with the traceback of its process.
    """
    if processes.count == 1:
        work(0, 1, _device(processes, 0), *arguments)
        return
    for leftover in (folder / MEETING, folder / ERROR):
        leftover.unlink(missing_ok=True)
    try:
        mp.spawn(_member, (processes, folder, work, arguments), nprocs=processes.count)
    except mp.ProcessExitedException as error:
        raise DataError(
            f"process {error.error_index} of {processes.count} was ended by the system ({error}); "
            "the usual cause is memory: use fewer processes or a smaller --batch-size"
        ) from None
    except mp.ProcessRaisedException:
        if not (folder / ERROR).is_file():
            raise
        said = json.loads((folder / ERROR).read_text())
        kind = UsageError if said["exit_code"] == UsageError.exit_code else DataError
        raise kind(f"process {said['rank']} of {processes.count}: {said['message']}") from None
    finally:
        for leftover in (folder / MEETING, folder / ERROR):
            leftover.unlink(missing_ok=True)


MEETING, ERROR = "rendezvous", "error.json"


def _member(rank: int, processes: Processes, folder: Path, work: Callable[..., Any], arguments: tuple) -> None:
    device = _device(processes, rank)
    if not processes.gpus:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes.count))
    store = dist.FileStore(str(folder / MEETING), processes.count)
    dist.init_process_group("nccl" if processes.gpus else "gloo", store=store, rank=rank, world_size=processes.count)
    try:
        work(rank, processes.count, device, *arguments)
    except CasprError as error:
        with whole(folder / ERROR) as draft:
            draft.write_text(json.dumps({"rank": rank, "exit_code": error.exit_code, "message": str(error)}))
        raise
    # In this order: gloo's threads abort the process at random if tensors outlive the group, or ranks leave one by one.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def _device(processes: Processes, rank: int) -> torch.device:
    if not processes.gpus:
        return torch.device("cpu")
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def add_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The sum of `values` over all processes, in place; nothing to do for one."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def from_first(data: bytes | None, device: torch.device) -> bytes:
    """The bytes that rank 0 gives, on every process."""
    if not dist.is_initialized():
        return data or b""
    length = torch.tensor([len(data or b"")], device=device)
    dist.broadcast(length, 0)
    sent = torch.empty(int(length), dtype=torch.uint8, device=device)
    if data:
        sent.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    dist.broadcast(sent, 0)
    return sent.cpu().numpy().tobytes()

"""One of several processes that torchrun, mpirun or srun starts: `python -m tests.member WORK FOLDER`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed as dist

from caspr_train.config import Config
from caspr_train.distributed import Processes, _from_json, follow, launch
from caspr_train.errors import CasprError, DataError
from caspr_train.meeting import meeting
from caspr_train.trainer import Job, train
from caspr_train.world import World


def keep_weights(rank: int, count: int, device: torch.device, folder: Path, job: Job) -> None:
    """Train, and keep the weights of every process where it works."""
    model = train(rank, count, device, folder, job)
    safetensors.torch.save_file(model.state_dict(), folder / f"rank{rank}.safetensors")
    print(f"rank {rank} worked in {folder}", flush=True)
    if os.environ.get("KEEP"):
        safetensors.torch.save_file(model.state_dict(), Path(os.environ["KEEP"]) / f"rank{rank}.safetensors")


def threads(rank: int, count: int, device: torch.device, folder: Path, config: Config | None) -> None:
    print(f"rank {rank} of {count} has {torch.get_num_threads()} threads", flush=True)


def fail_on_one(rank: int, count: int, device: torch.device, folder: Path, how: str) -> None:
    """Process 1 fails `how`; the others wait for it, in a step that only it could end."""
    if rank == 1:
        if how == "data":
            raise DataError("the second process has no data")
        if how == "bug":
            raise IndexError("a bug of the second process")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError(how)
    dist.all_reduce(torch.zeros(1))


def stuck_while_one_fails(rank: int, count: int, device: torch.device, folder: Path, how: str) -> None:
    """As a process on a GPU does, whose partner is gone: it waits in a call that never ends."""
    if rank == 1:
        raise DataError(how)
    time.sleep(3600)


def wait_for_ever(rank: int, count: int, device: torch.device, folder: Path) -> None:
    (folder / f"waiting.{os.getpid()}").touch()
    time.sleep(3600)


def wait_for_leave(rank: int, count: int, device: torch.device, folder: Path) -> None:
    """As a process that writes its checkpoint does: Ctrl-C, and the end of who started it, find it busy."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (folder / f"waiting.{os.getpid()}").touch()
    while not (folder / "leave").exists():
        time.sleep(0.05)


WORKS = {work.__name__: work for work in (keep_weights, threads, fail_on_one, stuck_while_one_fails)}


def take_part(name: str, folder: Path, argument: str) -> None:
    """What the command `train` does, without a database."""
    world = World.from_environment()
    with meeting(world) as met:
        processes = Processes.choose(0, None, met)
        processes.gather()
        if name in ("leader_fails", "leader_dies"):
            if processes.follows:
                follow(train, processes)
            if name == "leader_dies":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("the leader found no database")
        work = WORKS[name]
        if processes.follows:
            follow(work, processes)
        else:
            job = folder / "job.json"
            given = _from_json(Job, json.loads(job.read_text()), folder) if job.is_file() else argument or None
            for _ in range(2 if argument == "twice" else 1):
                launch(work, processes, folder, folder, given)
            print(f"rank 0 is done on {processes}", flush=True)


if __name__ == "__main__":
    try:
        take_part(sys.argv[1], Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
    except CasprError as error:
        print(f"caspr_train: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

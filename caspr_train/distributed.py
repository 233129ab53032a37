"""Processes: one function run by N of them, with NCCL on GPUs and gloo on CPUs.

They are started here, or something else has started them (torchrun, mpirun, srun). In that case every process runs the
same command: process 0 leads, the others follow until it launches work, and take part in it.
"""

from __future__ import annotations

import itertools
import os
import secrets
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from caspr_train.errors import DataError, UsageError
from caspr_train.failure import Failure, device_error
from caspr_train.files import Locks
from caspr_train.meeting import GRACE, LOOK_EVERY, TOKEN, join_group, leave_group
from caspr_train.stopping import Stop, Stopped, remembered

if TYPE_CHECKING:
    from caspr_train.meeting import Meeting


@dataclass(frozen=True)
class Processes:
    """How a run is spread: `gpus` GPUs with a process each, or (gpus = 0) `count` processes on the CPU.

    `meeting` is where they were started by something else; None where `launch` starts them.
    """

    gpus: int
    count: int
    meeting: Meeting | None = field(default=None, compare=False)

    @classmethod
    def choose(cls, gpus: int | None, processes: int | None, meeting: Meeting | None = None) -> Processes:
        """From the command line: nothing asked means all GPUs there are, or one process on the CPU.

        In a meeting the number of processes is given; what is asked must not contradict it.
        """
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for name, value, least in (("--gpus", gpus, 0), ("--processes", processes, 1)):
            if value is not None and value < least:
                raise UsageError(f"{name} {value}: expected a whole number of {least} or more")
        if gpus and processes not in (None, gpus):
            raise UsageError(f"--gpus {gpus} --processes {processes}: a GPU has one process; leave --processes out")
        if meeting is not None:
            return cls._of_world(gpus, processes, found, meeting)
        if gpus is not None and gpus > found:
            raise UsageError(
                f"--gpus {gpus}: asked for {gpus}, found {found} on this machine; use --gpus {found}"
                + ("" if found else ", with --processes N for N processes on the CPU")
            )
        gpus = found if gpus is None and processes is None else gpus or 0
        return cls(gpus, gpus or processes or 1)

    @classmethod
    def _of_world(cls, gpus: int | None, processes: int | None, found: int, meeting: Meeting) -> Processes:
        world = meeting.world
        for name, value in (("--gpus", gpus), ("--processes", processes)):
            if value and value != world.count:
                raise UsageError(
                    f"{name} {value}: {world.launcher} started {world.count} processes, all hosts together; leave "
                    f"{name} out" + (", or use --gpus 0 for the CPU" if name == "--gpus" else "")
                )
        wants_gpus = bool(gpus) or (gpus is None and processes is None and found > 0)
        # One GPU visible to each of several processes: the launcher has bound each to its own (NCCL refuses if not).
        bound = found == 1 and "CUDA_VISIBLE_DEVICES" in os.environ
        if wants_gpus and found < world.local_count and not bound:
            raise UsageError(
                f"{world.launcher} started {world.local_count} processes on host {world.host}, found {found} GPUs "
                f"there; start {found or 'them with --gpus 0'}" + (" or use --gpus 0" if found else "")
            )
        return cls(world.count if wants_gpus else 0, world.count, meeting)

    def expect_batch(self, batch_size: int) -> None:
        """Raise UsageError if a step has fewer sequences than there are processes."""
        if batch_size < self.count:
            raise UsageError(
                f"--batch-size {batch_size}: a step of {batch_size} sequences cannot be shared by {self.count} "
                f"processes; use {self.count} or more, or fewer processes"
            )

    @property
    def follows(self) -> bool:
        """Whether this process does only what process 0 launches."""
        return self.meeting is not None and self.meeting.world.rank > 0

    def gather(self) -> None:
        """Form the process group of a meeting, early: whoever lacks a host should not wait for a database first."""
        if self.meeting is not None:
            self.meeting.gather(self.gpus, _device(self, self.meeting.world.local_rank))

    def __str__(self) -> str:
        by = ""
        if self.meeting is not None:
            hosts = len({member["host"] for member in self.meeting.members})
            by = f" of {hosts} hosts" * (hosts > 1) + f", started by {self.meeting.world.launcher}"
        if self.gpus:
            return f"{self.gpus} GPU{'s' if self.gpus > 1 else ''}{by}"
        return "the CPU" if self.count == 1 else f"{self.count} processes on the CPU{'s' * (' hosts' in by)}{by}"

    def share_of(self, batch_size: int) -> str:
        """What each process takes of a step, in words."""
        least, most = batch_size // self.count, -(-batch_size // self.count)
        share = f"{most:,}" if least == most else f"{least:,} or {most:,}"
        return f"{batch_size:,} sequences a step" + (f", {share} a process" if self.count > 1 else "")


def launch(work: Callable[..., Any], processes: Processes, folder: Path, *arguments: Any) -> None:
    """Run `work(rank, count, device, *arguments)` in every process; return when all have.

    One process runs here. Several are spawned, meet through a file in `folder` (no port to find taken), and hold a
    process group while they work; or they were started by something else and `follow`. Then `folder` may be on this
    host only: the others work on a copy, and arguments that are paths must lie in it. An error in one process ends all:
    one that is meant for the user is raised here as itself, any other with the traceback of its process.
    """
    if processes.meeting is not None:
        _lead(work, processes, folder, arguments)
    elif processes.count == 1:
        device = _device(processes, 0)
        try:
            work(0, 1, device, *arguments)
        except RuntimeError as error:
            raise device_error(error, str(device)) or error from None
    else:
        _spawn(work, processes, folder, arguments)


def follow(work: Callable[..., Any], processes: Processes) -> None:
    """Take part in every `launch(work, ...)` of process 0; return when it has ended."""
    meeting = processes.meeting
    assert meeting is not None, "only processes that something else started can follow"
    world = meeting.world
    kinds = list(get_type_hints(work).items())[3:]
    for number in itertools.count():
        said = meeting.hear(f"work/{number}")
        if said is None:
            return
        assert said["work"] == _name(work), f"process 0 launched {said['work']}, this process knows {_name(work)}"
        folder = meeting.share(number, Path(said["folder"]), said["token"])
        arguments = [
            _from_json(kind, value, folder) for (_, kind), value in zip(kinds, said["arguments"], strict=False)
        ]
        with meeting.at_work():
            work(world.rank, world.count, _device(processes, world.local_rank), *arguments)
        meeting.rest()


def _lead(work: Callable[..., Any], processes: Processes, folder: Path, arguments: tuple) -> None:
    meeting = processes.meeting
    assert meeting is not None
    number, meeting.works = meeting.works, meeting.works + 1
    token = secrets.token_hex(16)
    (folder / TOKEN).write_text(token)
    said = [_to_json(argument, folder) for argument in arguments]
    # Absolute, for the others may have been started elsewhere on the same drive.
    meeting.say(
        f"work/{number}", {"work": _name(work), "folder": str(folder.resolve()), "token": token, "arguments": said}
    )
    meeting.share(number, folder, token)
    (folder / TOKEN).unlink()
    with meeting.at_work():
        work(0, processes.count, _device(processes, meeting.world.local_rank), *arguments)
    meeting.rest()


MEETING_FILE, FAILURE_FILE = "rendezvous", "failure.json"


def _spawn(work: Callable[..., Any], processes: Processes, folder: Path, arguments: tuple) -> None:
    leftovers = [folder / MEETING_FILE, folder / FAILURE_FILE]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    with remembered() as stop:
        context = mp.spawn(_member, (Locks(), processes, folder, work, arguments), nprocs=processes.count, join=False)
        passed_on = False
        try:
            while not context.join(LOOK_EVERY, grace_period=GRACE):
                if stop.told and not passed_on:
                    # SIGTERM in any case: the terminal has sent its Ctrl-C to all, and a second one means now.
                    passed_on = True
                    for process in context.processes:
                        if process.is_alive():
                            process.terminate()
        except (mp.ProcessExitedException, mp.ProcessRaisedException) as error:
            raise _first_failure(folder, context.processes, error, stop) from None
        finally:
            for process in context.processes:  # none is left but after a second Ctrl-C
                process.kill()
                process.join()
            for leftover in leftovers:
                leftover.unlink(missing_ok=True)


def _first_failure(folder: Path, members: list[Any], error: Exception, stop: Stop) -> BaseException:
    file = folder / FAILURE_FILE
    failure = Failure.from_json(file.read_text()) if file.is_file() and file.stat().st_size else None
    if failure is not None and not failure.is_lost:
        return failure.as_error()
    if stop.told == signal.SIGINT:
        return KeyboardInterrupt()
    if stop.told == signal.SIGTERM:  # passed on to processes that were outside the loop, before it or after
        return Stopped("told to stop (SIGTERM); the same command goes on from the last checkpoint, if there was one")
    # Nobody said more than that another is gone. The system ends with SIGKILL; SIGTERM may have come from here.
    ended = [(rank, member.exitcode) for rank, member in enumerate(members) if (member.exitcode or 0) < 0]
    if not ended:
        return failure.as_error() if failure else error
    rank, code = min(ended, key=lambda pair: (pair[1] == -signal.SIGTERM, pair[0]))
    return DataError(
        f"process {rank} of {len(members)} was ended by {signal.Signals(-code).name}; "
        "if nobody sent it, the usual cause is memory: use fewer processes or a smaller --batch-size"
    )


def _member(
    rank: int, _: Locks, processes: Processes, folder: Path, work: Callable[..., Any], arguments: tuple
) -> None:
    device = torch.device("cuda", rank) if processes.gpus else torch.device("cpu")
    try:
        device = _device(processes, rank)
        if not processes.gpus:
            torch.set_num_threads(max(1, _cores() // processes.count))
        store = dist.FileStore(str(folder / MEETING_FILE), processes.count)
        join_group(store, rank, processes.count, device)
        work(rank, processes.count, device, *arguments)
        leave_group()
    except BaseException as error:
        failure = Failure.of(error, rank, processes.count, str(device))
        try:
            # Only the first has its say, and it has it before its connections close, which the others would report.
            with (folder / FAILURE_FILE).open("x") as file:
                file.write(failure.to_json())
        except OSError:
            pass
        # Not sys.exit: the threads of a broken group abort the process, or wait for one that is gone.
        os._exit(failure.exit_code)


def _device(processes: Processes, local_rank: int) -> torch.device:
    if not processes.gpus:
        return torch.device("cpu")
    device = torch.device("cuda", local_rank if torch.cuda.device_count() > 1 else 0)
    try:
        torch.cuda.set_device(device)
    except RuntimeError as error:
        raise device_error(error, str(device)) or error from None
    return device


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _name(work: Callable[..., Any]) -> str:
    return f"{work.__module__}.{work.__qualname__}"


def _to_json(value: Any, folder: Path) -> Any:
    """Dataclasses by their fields, paths as seen from `folder`; the rest as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _to_json(getattr(value, f.name), folder) for f in fields(value)}
    return value.relative_to(folder).as_posix() if isinstance(value, Path) else value


def _from_json(kind: Any, value: Any, folder: Path) -> Any:
    """The value that `_to_json` wrote, of the type that the work's signature names."""
    if isinstance(kind, type) and is_dataclass(kind):
        kinds = get_type_hints(kind)
        return kind(**{name: _from_json(kinds[name], inner, folder) for name, inner in value.items()})
    if kind is Path:
        return folder / value
    return tuple(value) if get_origin(kind) is tuple else value


def add_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The sum of `values` over all processes, in place; nothing to do for one."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def wait_for_all(device: torch.device) -> None:
    """Return when every process has come here. To read the sum is to wait: from the all-reduce itself the host of a GPU
    goes on before it has begun."""
    add_over_processes(torch.zeros(1, device=device)).item()


def take_from_first(tensors: Iterable[torch.Tensor]) -> None:
    """Make the tensors, in place, what they are on rank 0."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, 0)


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

"""How processes that something else started find each other, hear of the first failure, and end together.

All of it goes through a key-value store at the world's address: process 0 holds it, or torchrun's agent does. Work and
files go through torch's process group, which is made of the same store.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from caspr_train import __version__
from caspr_train.errors import CasprError, UsageError
from caspr_train.failure import Elsewhere, Failure, lost
from caspr_train.world import World

# Launchers start all processes at once; what is slow is importing torch on many hosts from one network drive.
COME = timedelta(minutes=5)
# What listens at process 0's address answers within this time, or is something else.
ANSWER = timedelta(seconds=20)
# One step of the work may wait for another process this long: for its checkpoint, or for data on a slow drive. A
# process that is gone is noticed at once in other ways.
WORK = timedelta(hours=2)
LOOK_EVERY, GRACE = 0.3, 3.0  # seconds
CHUNK = 16 * 2**20  # bytes of a file on their way to another host
TOKEN = "token"


@contextlib.contextmanager
def meeting(world: World | None) -> Iterator[Meeting | None]:
    """Meet the other processes of `world` for the time of the block; nothing to do where there are none.

    Whatever ends the block in one process ends it in all. The first failure is shown once, by the process that met it,
    and every process leaves with its exit code: a process of a broken group does not return from here.
    """
    if world is None:
        yield None
        return
    met = Meeting(world)
    try:
        yield met
        met.part()
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        met.fail(error)


class Meeting:
    """One process's side of it. `hear` and `say` pass short texts; `share` makes a folder readable on every host."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.works = 0
        self.members: list[dict[str, Any]] = []
        self._cpus: list[int] | None = None
        self._borrowed: Path | None = None
        self._over = threading.Event()
        self._shown = threading.Lock()
        holds = world.rank == 0 and not world.agent_store
        self._store = self._connect(holds)
        if holds:
            self.say("open", True)
        elif not world.agent_store:
            try:
                self.hear("open", ANSWER)
            except TimeoutError:
                raise UsageError(self._nobody("another job is there")) from None
        self._watcher = threading.Thread(target=self._watch, name="caspr-meeting", daemon=True)
        self._watcher.start()

    def _connect(self, holds: bool = False) -> dist.Store:
        world = self.world
        try:
            if not holds:
                self._wait_until_somebody_listens()
            store = _within(
                ANSWER,
                lambda: dist.TCPStore(world.address, world.port, is_master=holds, wait_for_workers=False, timeout=COME),
            )
        except (RuntimeError, OSError) as error:
            if holds and ("EADDRINUSE" in str(error) or "address already in use" in str(error)):
                message = f"port {world.port} is in use on this host; set MASTER_PORT to a free one"
            elif holds:
                message = f"cannot listen on port {world.port}: {_first_line(error)}"
            else:
                message = self._nobody(_first_line(error))
            raise UsageError(message) from None
        # The job keeps apart what two jobs say that were given one port, and a restart from what was said before it.
        return dist.PrefixStore(f"caspr/{world.job}", store)

    def _wait_until_somebody_listens(self) -> None:
        until = time.monotonic() + COME.total_seconds()
        while True:
            try:
                socket.create_connection((self.world.address, self.world.port), timeout=ANSWER.total_seconds()).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise
            time.sleep(LOOK_EVERY)

    def _nobody(self, why: str) -> str:
        world = self.world
        return (
            f"{world} found no process 0 of this job at {world.address}:{world.port} ({why}); set MASTER_ADDR to the "
            "host of process 0 and MASTER_PORT to a free port there"
        )

    def say(self, key: str, value: Any) -> None:
        self._store.set(key, json.dumps(value))

    def hear(self, key: str, at_most: timedelta | None = None) -> Any:
        """What was, or will be, said under `key`. It may take hours: another process reads the marts meanwhile."""
        until = None if at_most is None else time.monotonic() + at_most.total_seconds()
        while True:
            failure = self._failure(self._store)
            if failure is not None:
                raise Elsewhere(failure)
            if self._store.check([key]):
                return json.loads(self._store.get(key))
            if until is not None and time.monotonic() > until:
                raise TimeoutError(key)
            time.sleep(LOOK_EVERY / 3)

    def gather(self, gpus: int, device: torch.device) -> None:
        """Form the process group, once all processes have said that they are of one kind."""
        world = self.world
        cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
        mine = {
            "host": world.host,
            "local_rank": world.local_rank,
            "cpus": cpus,
            "version": f"caspr_train {__version__} with torch {torch.__version__}",
            "device": device.type,
        }
        self.say(f"here/{world.rank}", mine)
        self.members = []
        for rank in range(world.count):
            try:
                self.members.append(self.hear(f"here/{rank}", COME))
            except TimeoutError:
                raise UsageError(
                    f"process {rank} of {world.count} did not come within {COME.total_seconds():.0f} s; was "
                    f"{world.launcher} started on every host with the same addresses?"
                ) from None
        for rank, member in enumerate(self.members):
            for what, mend in (
                ("version", "install the same on every host"),
                ("device", "use --gpus 0, or start processes only where there are GPUs"),
            ):
                if member[what] != self.members[0][what]:
                    raise UsageError(
                        f"process 0 has {self.members[0][what]} and process {rank} (host {member['host']}) has "
                        f"{member[what]}; {mend}"
                    )
        self._cpus = None if gpus else cpus
        join_group(dist.PrefixStore("group", self._store), world.rank, world.count, device)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """This process's part of its host's cores while all work; before and after it the leader has all it may use.

        mpirun and srun may have bound a process to some cores. torchrun binds none, and sets OMP_NUM_THREADS to 1.
        """
        if self._cpus is None:
            yield
            return
        beside = [member["cpus"] for member in self.members if member["host"] == self.world.host]
        sharing = sum(not set(self._cpus).isdisjoint(cpus) for cpus in beside)
        torch.set_num_threads(max(1, len(self._cpus) // sharing))
        try:
            yield
        finally:
            torch.set_num_threads(len(self._cpus))

    def share(self, number: int, folder: Path, token: str) -> Path:
        """`folder` of process 0, or on a host that does not see it a temporary copy of all its files."""
        world = self.world
        leaders = [rank for rank, member in enumerate(self.members) if member["local_rank"] == 0]
        if world.rank in leaders:
            try:
                sees = (folder / TOKEN).read_text() == token
            except OSError:
                sees = False
            self.say(f"sees/{number}/{world.rank}", sees)
        without = [rank for rank in leaders if not self.hear(f"sees/{number}/{rank}")]
        if not without:
            return folder
        group = dist.new_group([0, *without], backend="gloo", timeout=WORK)  # all take part in making it
        if world.rank == 0:
            # What is packed lies behind a link, which rglob would not follow.
            found = (Path(at, name) for at, _, names in os.walk(folder, followlinks=True) for name in sorted(names))
            files = {str(file.relative_to(folder)): file.stat().st_size for file in found}
            self.say(f"files/{number}", files)
            for name, size in files.items():
                _send(folder / name, size, group)
        elif world.rank in without:
            self._borrowed = Path(tempfile.mkdtemp(prefix="caspr-"))
            for name, size in self.hear(f"files/{number}").items():
                _receive(self._borrowed / name, size, group)
            self.say(f"folder/{number}/{world.host}", str(self._borrowed))
        if world.host not in {self.members[rank]["host"] for rank in without}:
            return folder
        return Path(self.hear(f"folder/{number}/{world.host}"))

    def rest(self) -> None:
        """After some work: wait until all have done theirs, and give back what was borrowed for it."""
        gc.collect()
        dist.barrier()
        self._give_back()

    def part(self) -> None:
        """The end, when all went well. Nobody watches any more: the holder of the store may go before the others."""
        if self.world.rank == 0:
            self.say(f"work/{self.works}", None)
        self._over.set()
        self._watcher.join()
        if dist.is_initialized():
            leave_group()
        else:
            self._store.add("parted", 1)
            while self.world.rank == 0 and int(self._store.add("parted", 0)) < self.world.count:
                time.sleep(LOOK_EVERY / 3)

    def fail(self, error: BaseException) -> None:
        """Tell all others of `error`, unless one was first; show it here if it is the first; leave."""
        mine = self._own_failure(error)
        first = mine
        with contextlib.suppress(RuntimeError):  # the store is gone: then this process has only itself to speak for
            # Told before any connection of this process closes, so that no other can mistake itself for the first.
            first = Failure.from_json(self._store.compare_set("failure", "", mine.to_json()).decode())
        self._show(first)
        self._leave(first)

    def _own_failure(self, error: BaseException) -> Failure:
        if isinstance(error, Elsewhere):
            return error.failure
        world = self.world
        device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_initialized() else "cpu"
        return Failure.of(error, world.rank, world.count, device, world.host)

    def _failure(self, store: dist.Store | None) -> Failure | None:
        """The first failure of all, if there is one; that process 0 is gone if the store went without a word."""
        try:
            if store is None or store.check(["failure"]):
                return Failure.from_json(store.get("failure").decode()) if store else self._gone()
        except RuntimeError:
            return self._gone()
        return None

    def _gone(self) -> Failure:
        return Failure(0, self.world.count, "", lost("it"), 1, None, is_lost=True)

    def _watch(self) -> None:
        """In a thread of its own: a failure elsewhere ends this process too, be it stuck in a call that never ends."""
        try:
            store: dist.Store | None = self._connect()
        except CasprError:
            store = None
        while not self._over.wait(LOOK_EVERY):
            failure = self._failure(store)
            if failure is not None and not self._over.is_set():
                self._show(failure)
                # What it is busy with is likely to fail by itself now, and then to clear up behind it.
                if not self._over.wait(GRACE):
                    self._leave(failure)
                return

    def _show(self, failure: Failure) -> None:
        """On standard error, once: by the process that failed, under torchrun once on every other host too."""
        world = self.world
        if not self._shown.acquire(blocking=False):
            return
        elsewhere = world.launcher == "torchrun" and world.local_rank == 0 and failure.host != world.host
        orphan = failure.is_lost and failure.rank == 0 and world.rank == 1
        if world.rank == failure.rank or elsewhere or orphan:
            print(f"{failure.trace or ''}caspr_train: {failure.said}", file=sys.stderr)

    def _leave(self, failure: Failure) -> None:
        # Others must have read of the failure before the store goes with its holder.
        with contextlib.suppress(RuntimeError):
            self._store.add("read", 1)
            until = time.monotonic() + 5 * LOOK_EVERY
            while self.world.rank == 0 and not self.world.agent_store and time.monotonic() < until:
                if int(self._store.add("read", 0)) >= self.world.count:
                    break
                time.sleep(LOOK_EVERY / 3)
        self._give_back()
        _tell_torchrun(failure)
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: the threads of a broken group abort the process, or wait for one that is gone.
        os._exit(failure.exit_code)

    def _give_back(self) -> None:
        if self._borrowed is not None:
            shutil.rmtree(self._borrowed, ignore_errors=True)
            self._borrowed = None


def join_group(store: dist.Store, rank: int, count: int, device: torch.device) -> None:
    """Form the process group of the work: gloo for what lies on the CPU, NCCL for what lies on GPUs."""
    if device.type == "cuda":
        dist.init_process_group(
            "cpu:gloo,cuda:nccl", store=store, rank=rank, world_size=count, timeout=WORK, device_id=device
        )
    else:
        dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=WORK)


def leave_group() -> None:
    """In this order: gloo's threads abort the process at random if tensors outlive the group, or ranks leave singly."""
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def _within(limit: timedelta, make: Callable[[], dist.Store]) -> dist.Store:
    """What `make` returns. TimeoutError: it did not within `limit`; torch itself waits without end for a greeting."""
    made: queue.Queue[dist.Store | Exception] = queue.Queue()

    def run() -> None:
        try:
            made.put(make())
        except Exception as error:
            made.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        result = made.get(timeout=limit.total_seconds())
    except queue.Empty:
        raise TimeoutError("what listens there does not answer") from None
    if isinstance(result, Exception):
        raise result
    return result


def _send(path: Path, size: int, group: dist.ProcessGroup) -> None:
    with path.open("rb") as file:
        for start in range(0, size, CHUNK):
            piece = bytearray(file.read(min(CHUNK, size - start)))
            dist.broadcast(torch.frombuffer(piece, dtype=torch.uint8), src=0, group=group)


def _receive(path: Path, size: int, group: dist.ProcessGroup) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, CHUNK):
            piece = torch.empty(min(CHUNK, size - start), dtype=torch.uint8)
            dist.broadcast(piece, src=0, group=group)
            file.write(piece.numpy().data)


def _tell_torchrun(failure: Failure) -> None:
    """So that torchrun's own report, which ends with what it takes for the cause, ends with the cause."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        about = {"py_callstack": str(failure), "timestamp": str(int(time.time()))}
        with contextlib.suppress(OSError):
            Path(path).write_text(json.dumps({"message": {"message": str(failure), "extraInfo": about}}))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]

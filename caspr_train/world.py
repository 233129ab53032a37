"""The world that something else started: what torchrun, mpirun or srun told this process about the others."""

from __future__ import annotations

import os
import re
import socket
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from caspr_train.errors import UsageError

# Numbers that Slurm gives to what is no step of `srun`: the batch script, an allocation's shell and the like.
NO_STEP = 0xFFFF_FFF0
LOCALHOST = "127.0.0.1"


@dataclass(frozen=True)
class World:
    """This process among `count`, on a host with `local_count` of them; process 0 is met at `address`:`port`."""

    launcher: str  # torchrun, mpirun or srun
    rank: int
    count: int
    local_rank: int
    local_count: int
    host: str  # what all processes of this host, and no others, call it
    address: str
    port: int
    job: str  # what the processes of this start, and no others, share
    agent_store: bool = False  # torchrun's agent holds the store at address:port, and not process 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> World | None:
        """The world that the environment describes; None where this process was started alone.

        The innermost launcher counts: torchrun in a step of srun is torchrun. UsageError: variables are missing or
        contradict each other.
        """
        env = os.environ if environment is None else environment
        if "RANK" in env or "WORLD_SIZE" in env:
            world = _torchrun(env)
        elif "OMPI_COMM_WORLD_RANK" in env or "OMPI_COMM_WORLD_SIZE" in env:
            world = _open_mpi(env)
        elif "SLURM_PROCID" in env and int(env.get("SLURM_STEP_ID", NO_STEP)) < NO_STEP:
            world = _slurm(env)
        elif "PMI_RANK" in env or "PMI_SIZE" in env:
            world = _mpich(env)
        else:
            return None
        return None if world.count == 1 else world

    def __str__(self) -> str:
        return f"process {self.rank} of {self.count}"


def _torchrun(env: Mapping[str, str]) -> World:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, count, local_rank, local_count = _numbers(env, "torchrun", *names)
    _expect(env, "torchrun", "MASTER_ADDR", "MASTER_PORT")
    return World(
        launcher="torchrun",
        rank=rank,
        count=count,
        local_rank=local_rank,
        local_count=local_count,
        host=env.get("GROUP_RANK") or socket.gethostname(),
        address=env["MASTER_ADDR"],
        port=_port(env),
        job=f"{env.get('TORCHELASTIC_RUN_ID', '')}.{env.get('TORCHELASTIC_RESTART_COUNT', '0')}",
        agent_store=env.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _open_mpi(env: Mapping[str, str]) -> World:
    parts = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    numbers = _numbers(env, "mpirun", *(f"OMPI_COMM_WORLD_{part}" for part in parts))
    return _met_at(env, "mpirun", numbers, job=env.get("PMIX_NAMESPACE") or env.get("OMPI_MCA_ess_base_jobid", ""))


def _mpich(env: Mapping[str, str]) -> World:
    numbers = _numbers(env, "mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
    return _met_at(env, "mpirun", numbers, job="")


def _slurm(env: Mapping[str, str]) -> World:
    size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in env else "SLURM_NTASKS"
    rank, count, local_rank = _numbers(env, "srun", "SLURM_PROCID", size, "SLURM_LOCALID")
    local_count = count
    if "SLURM_STEP_TASKS_PER_NODE" in env:
        (node,) = _whole(env, "srun", "SLURM_NODEID") if "SLURM_NODEID" in env else (0,)
        tasks = _tasks_per_node(env["SLURM_STEP_TASKS_PER_NODE"])
        if node >= len(tasks) or sum(tasks) != count or local_rank >= tasks[node]:
            raise UsageError(
                f"srun: SLURM_NODEID={node}, SLURM_LOCALID={local_rank} and {size}={count} contradict "
                f"SLURM_STEP_TASKS_PER_NODE={env['SLURM_STEP_TASKS_PER_NODE']}; start the processes with `srun`, or "
                "unset these variables to run alone"
            )
        local_count = tasks[node]
    job = f"{env.get('SLURM_JOB_ID', '')}.{env['SLURM_STEP_ID']}"
    return _met_at(env, "srun", (rank, count, local_rank, local_count), job)


def _met_at(env: Mapping[str, str], launcher: str, numbers: tuple[int, ...], job: str) -> World:
    """A world whose launcher names no meeting point: on one host it is derived, for several it has to be set."""
    rank, count, local_rank, local_count = numbers
    named = [name for name in ("MASTER_ADDR", "MASTER_PORT") if env.get(name)]
    wanted = [] if count == 1 else ["MASTER_ADDR", "MASTER_PORT"] if local_count < count else []
    if count > 1 and not job:
        wanted.append("MASTER_PORT")  # nothing to derive it from that all processes would know
    missing = sorted(set(wanted) - set(named))
    if missing:
        where = "processes on several hosts" if local_count < count else "several processes"
        raise UsageError(
            f"{launcher} started {where}, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set: set MASTER_ADDR to the host of process 0 and MASTER_PORT "
            "to a free port there"
        )
    # Below the range from which systems take ports of their own accord.
    port = _port(env) if "MASTER_PORT" in named else 15_000 + zlib.crc32(job.encode()) % 15_000
    host = socket.gethostname()
    address = env.get("MASTER_ADDR") or LOCALHOST
    return World(launcher, rank, count, local_rank, local_count, host, address, port, job)


def _numbers(env: Mapping[str, str], launcher: str, *names: str) -> tuple[int, ...]:
    """Rank, count and, as far as named, local rank and local count, checked against each other."""
    values = _whole(env, launcher, *names)
    rank, count, local_rank, *rest = values
    if not (rank < count and local_rank <= rank and (not rest or local_rank < rest[0] <= count)):
        said = ", ".join(f"{name}={env[name]}" for name in names)
        raise UsageError(
            f"{said} contradict each other; start the processes with `{launcher}`, or unset these variables to run "
            "alone"
        )
    return values


def _whole(env: Mapping[str, str], launcher: str, *names: str) -> tuple[int, ...]:
    _expect(env, launcher, *names)
    for name in names:
        if not re.fullmatch(r"\d{1,9}", env[name]):
            raise UsageError(f"{name}={env[name]!r}: expected a whole number, as {launcher} sets it")
    return tuple(int(env[name]) for name in names)


def _expect(env: Mapping[str, str], launcher: str, *names: str) -> None:
    missing = [name for name in names if not env.get(name)]
    if missing:
        there = ", ".join(f"{name}={env[name]}" for name in names if env.get(name))
        raise UsageError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
            + (f" but {there}" if there else "")
            + f": start the processes with `{launcher}`, which sets all, or unset these variables to run alone"
        )


def _port(env: Mapping[str, str]) -> int:
    text = env["MASTER_PORT"]
    if not re.fullmatch(r"\d{1,5}", text) or not 0 < int(text) < 65_536:
        raise UsageError(f"MASTER_PORT={text!r}: expected a port from 1 to 65535")
    return int(text)


def _tasks_per_node(text: str) -> list[int]:
    """Slurm's short form, `2(x3),1` for three hosts of two tasks and one of one."""
    tasks: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if not found:
            raise UsageError(f"SLURM_STEP_TASKS_PER_NODE={text!r}: expected Slurm's form, such as 2(x3),1")
        tasks += [int(found[1])] * int(found[2] or 1)
    return tasks

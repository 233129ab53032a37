"""Several processes, however they were started: one result, one error, and nobody left behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from caspr_train.bundle import Bundle
from caspr_train.cli import main
from caspr_train.config import preset
from caspr_train.distributed import Processes, _from_json, _to_json, launch, wait_for_all
from caspr_train.errors import DataError, UsageError
from caspr_train.failure import Failure
from caspr_train.files import alone_in
from caspr_train.trainer import Job
from caspr_train.world import World
from tests.frames import training_folder
from tests.member import fail_on_one, keep_weights, stuck_while_one_fails
from tests.projects import BIN, ROOT

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "29500",
    "GROUP_RANK": "0",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "PMIX_NAMESPACE": "1478098945",
}
MPICH = {
    "PMI_RANK": "1",
    "PMI_SIZE": "2",
    "MPI_LOCALRANKID": "1",
    "MPI_LOCALNRANKS": "2",
    "MASTER_PORT": "29500",
}
SRUN = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
}
HOSTS = {"MASTER_ADDR": "a", "MASTER_PORT": "29500"}
STARTED_BY = ("OMPI_", "PMI", "SLURM_", "MASTER_", "TORCHELASTIC_", "RANK", "WORLD_SIZE", "LOCAL_", "GROUP_RANK")


@pytest.mark.parametrize(
    ("launcher", "env", "expected"),
    [
        ("torchrun", TORCHRUN, (1, 4, 1, 2, "a", 29500)),
        ("torchrun", {**SRUN, **TORCHRUN}, (1, 4, 1, 2, "a", 29500)),
        ("mpirun", OPEN_MPI, (1, 2, 1, 2, "127.0.0.1", None)),
        ("mpirun", {**SRUN, **OPEN_MPI, "MASTER_PORT": "1234"}, (1, 2, 1, 2, "127.0.0.1", 1234)),
        ("mpirun", MPICH, (1, 2, 1, 2, "127.0.0.1", 29500)),
        ("srun", SRUN, (1, 2, 1, 2, "127.0.0.1", None)),
        ("srun", {**SRUN, "PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2, 1, 2, "127.0.0.1", None)),
        (
            "srun",
            {
                **SRUN,
                **HOSTS,
                "SLURM_PROCID": "6",
                "SLURM_LOCALID": "0",
                "SLURM_NODEID": "3",
                "SLURM_STEP_NUM_TASKS": "7",
                "SLURM_STEP_TASKS_PER_NODE": "2(x3),1",
            },
            (6, 7, 0, 1, "a", 29500),
        ),
    ],
)
def test_a_world_is_read_from_what_the_launcher_sets(launcher, env, expected):
    world = World.from_environment(env)
    assert world.launcher == launcher
    found = (world.rank, world.count, world.local_rank, world.local_count, world.address, world.port)
    assert found[:5] == expected[:5] and expected[5] in (None, found[5])
    other = World.from_environment({**env, "SLURM_JOB_ID": "78", "PMIX_NAMESPACE": "2"})
    assert 1 <= world.port < 65_536 and (expected[5] or other.port != world.port)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},  # sbatch, no srun
        {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967291"},
        {
            **SRUN,
            "SLURM_PROCID": "0",
            "SLURM_LOCALID": "0",
            "SLURM_STEP_NUM_TASKS": "1",
            "SLURM_STEP_TASKS_PER_NODE": "1",
        },
        {**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
        {"MASTER_ADDR": "a", "MASTER_PORT": "29500"},
    ],
)
def test_a_process_that_is_alone_is_not_mistaken_for_one_of_several(env):
    assert World.from_environment(env) is None


def without(env: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in names}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (without(TORCHRUN, "RANK"), r"RANK is not set but WORLD_SIZE=4.*`torchrun`"),
        (without(TORCHRUN, "LOCAL_RANK", "LOCAL_WORLD_SIZE"), r"LOCAL_RANK, LOCAL_WORLD_SIZE are not set but RANK=1"),
        (without(TORCHRUN, "MASTER_PORT"), r"MASTER_PORT is not set but MASTER_ADDR=a"),
        ({**TORCHRUN, "RANK": "4"}, r"RANK=4, WORLD_SIZE=4.*contradict each other"),
        ({**TORCHRUN, "LOCAL_WORLD_SIZE": "5"}, r"LOCAL_WORLD_SIZE=5 contradict each other"),
        ({**TORCHRUN, "RANK": "first"}, r"RANK='first': expected a whole number"),
        ({**TORCHRUN, "MASTER_PORT": "99999"}, r"MASTER_PORT='99999': expected a port"),
        (without(OPEN_MPI, "OMPI_COMM_WORLD_SIZE"), r"OMPI_COMM_WORLD_SIZE is not set but OMPI_COMM_WORLD_RANK=1"),
        ({**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "4"}, r"several hosts, and MASTER_ADDR and MASTER_PORT are not set"),
        (without(MPICH, "MASTER_PORT"), r"several processes, and MASTER_PORT is not set"),
        ({**SRUN, "SLURM_PROCID": "2"}, r"SLURM_PROCID=2, SLURM_STEP_NUM_TASKS=2.*contradict"),
        ({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "3"}, r"contradict SLURM_STEP_TASKS_PER_NODE=3"),
        ({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "two"}, r"SLURM_STEP_TASKS_PER_NODE='two': expected Slurm's form"),
    ],
)
def test_half_a_world_and_one_that_contradicts_itself_are_refused_with_the_variables_named(env, message):
    with pytest.raises(UsageError, match=message):
        World.from_environment(env)


@pytest.mark.parametrize(
    ("gpus", "processes", "found", "message"),
    [
        (2, None, 8, r"^--gpus 2: torchrun started 4 processes, all hosts together; leave --gpus out"),
        (None, 2, 8, r"^--processes 2: torchrun started 4 processes"),
        (0, 3, 8, r"^--processes 3: torchrun started 4 processes"),
        (4, 2, 8, r"^--gpus 4 --processes 2: a GPU has one process"),
        (None, None, 1, r"torchrun started 2 processes on host 0, found 1 GPUs there"),
        (4, None, 0, r"torchrun started 2 processes on host 0, found 0 GPUs there; start them with --gpus 0"),
    ],
)
def test_options_that_contradict_the_launcher_are_refused(monkeypatch, gpus, processes, found, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UsageError, match=message):
        Processes.choose(gpus, processes, SimpleNamespace(world=World.from_environment(TORCHRUN)))


def test_what_is_said_of_the_processes_names_the_whole_batch_and_each_share(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    members = [{"host": "0"}, {"host": "0"}, {"host": "1"}, {"host": "1"}]
    meeting = SimpleNamespace(world=World.from_environment(TORCHRUN), members=members)
    assert str(Processes.choose(None, None, meeting)) == "4 GPUs of 2 hosts, started by torchrun"
    assert str(Processes.choose(0, None, meeting)) == "4 processes on the CPUs of 2 hosts, started by torchrun"
    assert Processes(0, 3).share_of(1024) == "1,024 sequences a step, 341 or 342 a process"
    assert Processes(0, 1).share_of(1024) == "1,024 sequences a step"
    with pytest.raises(UsageError, match=r"--batch-size 2: a step of 2 sequences cannot be shared by 4 processes"):
        Processes(0, 4).expect_batch(2)


class Reads(TorchDispatchMode):
    """Counts how often the host reads a tensor."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_to_wait_for_all_is_to_read_what_they_sum_up(monkeypatch):
    # As on a GPU, the all-reduce is only begun when the host goes on.
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: None)
    with Reads() as reads:
        wait_for_all(torch.device("cpu"))
    assert reads.count == 1


def test_a_job_is_the_same_after_its_way_to_another_process(tmp_path):
    job = training_folder(tmp_path, preset("default", epochs=3), customers=50)
    said = json.loads(json.dumps(_to_json((tmp_path / "a" / "b"), tmp_path)))
    assert _from_json(Path, said, Path("/elsewhere")) == Path("/elsewhere/a/b")
    assert _from_json(Job, json.loads(json.dumps(_to_json(job, tmp_path))), tmp_path) == job


# -- errors

CUDA_SAYS = "CUDA error: {}\nCUDA kernel errors might be asynchronously reported at some other API call."
GPU_ERRORS = [
    (CUDA_SAYS.format("CUDA-capable device(s) is/are busy or unavailable"), r"GPU 3 is busy \(CUDA error.*VISIBLE"),
    (CUDA_SAYS.format("invalid device ordinal"), r"GPU 3 is not there"),
    ("No CUDA GPUs are available", r"GPU 3 is not there.*nvidia-smi"),
    (CUDA_SAYS.format("uncorrectable ECC error encountered"), r"GPU 3 is lost .*start again without it"),
    (
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1 is free.",
        r"GPU 3 is out of memory \(CUDA out of memory\); end what else runs there, train with a smaller --batch-size",
    ),
    ("NCCL error in: x.cpp:1, invalid usage\nDuplicate GPU detected : rank 0 and rank 1", r"given to two processes"),
]


@pytest.mark.parametrize(("said", "message"), GPU_ERRORS)
def test_what_a_gpu_says_becomes_one_line(said, message):
    failure = Failure.of(RuntimeError(said), 3, 4, "cuda:3")
    assert "\n" not in failure.message and failure.trace is None and failure.exit_code == 1
    with pytest.raises(DataError, match=message):
        raise failure.as_error()


def test_a_full_disk_is_one_line():
    failure = Failure.of(OSError(28, "No space left on device"), 1, 2, "cpu")
    assert failure.said == "process 1 of 2: [Errno 28] No space left on device"
    assert failure.trace is None and failure.exit_code == 1


def test_a_bug_is_not_mistaken_for_a_broken_gpu():
    for error in (
        RuntimeError("CUDA error: an illegal memory access"),
        RuntimeError("out of memory"),
        KeyError("CUDA"),
    ):
        assert Failure.of(error, 0, 2, "cuda:0").trace


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (torch.OutOfMemoryError(GPU_ERRORS[4][0]), 1, "the GPU is out of memory (CUDA out of memory); end what else"),
        (RuntimeError(GPU_ERRORS[0][0]), 1, "the GPU is busy (CUDA error: CUDA-capable device"),
        (OSError(28, "No space left on device"), 1, "[Errno 28] No space left on device\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_whatever_command_it_meets_it_is_one_line_that_says_only_what_is_known(monkeypatch, capsys, error, code, said):
    def fails(folder: Path) -> None:
        raise error

    monkeypatch.setattr(Bundle, "load", fails)
    assert main(["embed", "--gpus", "0", "--bundle", "somewhere"]) == code
    err = capsys.readouterr().err
    assert err.startswith(f"caspr_train: {said}") and err.count("\n") == 1


def test_a_bug_of_a_command_shows_where_it_is(monkeypatch):
    def fails(folder: Path) -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(Bundle, "load", fails)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        main(["embed", "--gpus", "0", "--bundle", "somewhere"])


SPAWNED_FAILURES = [
    (fail_on_one, GPU_ERRORS[0][0], DataError, r"^process 1 of 2: the GPU is busy .*[^\n]$"),
    (
        fail_on_one,
        "kill",
        DataError,
        r"^process 1 of 2 was ended by SIGKILL; if nobody sent it, the usual cause is mem",
    ),
    (fail_on_one, "bug", RuntimeError, r"^process 1 of 2 failed\n(.*\n)*IndexError: a bug of the second process"),
    (stuck_while_one_fails, "I give up", DataError, r"^process 1 of 2: I give up$"),
]


@pytest.mark.parametrize(("work", "how", "kind", "message"), SPAWNED_FAILURES)
def test_a_process_that_fails_ends_the_others_and_is_heard(tmp_path, work, how, kind, message):
    with pytest.raises(kind, match=message):
        launch(work, Processes(0, 2), tmp_path, tmp_path, how)
    assert list(tmp_path.iterdir()) == []


STARTER = """
import sys
from pathlib import Path
from caspr_train.distributed import Processes, launch
from caspr_train.files import alone_in
from tests import member
if __name__ == "__main__":
    folder = Path(sys.argv[2])
    with alone_in(folder):
        launch(getattr(member, sys.argv[1]), Processes(0, 2), folder, folder)
"""


def start(work: str, folder: Path, script: Path) -> tuple[subprocess.Popen, list[int]]:
    """A process that has two processes do the work, and their ids once both wait."""
    script.write_text(STARTER)
    command = [sys.executable, script, work, folder]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)
    pids: list[int] = []
    while len(pids) < 2:
        assert process.poll() is None
        time.sleep(0.1)
        pids = [int(file.suffix[1:]) for file in folder.glob("waiting.*")]
    return process, pids


def test_sigterm_to_the_starting_process_ends_its_processes_too(tmp_path):
    process, pids = start("wait_for_ever", tmp_path / "run", tmp_path / "start.py")
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "Stopped: told to stop (SIGTERM); the same command goes on" in said
    for pid in pids:
        assert not Path("/proc", str(pid)).exists()


def test_a_run_has_one_owner_and_what_a_killed_one_started_still_owns_it(tmp_path):
    run = tmp_path / "run"
    process, _ = start("wait_for_leave", run, tmp_path / "start.py")
    in_use = rf"^{run} is in use by process {process.pid} on \S+, or by what it started"
    with pytest.raises(DataError, match=in_use), alone_in(run):
        pass
    process.kill()
    process.wait()
    with pytest.raises(DataError, match=in_use), alone_in(run):
        pass
    (run / "leave").touch()
    until = time.monotonic() + 60
    while True:
        try:
            with alone_in(run):
                assert (run / "lock").read_text().startswith(f"process {os.getpid()} on ")
            break
        except DataError:
            assert time.monotonic() < until
            time.sleep(0.1)
    assert not (run / "lock").exists() and (run / "leave").exists()


def test_a_folder_that_its_owner_leaves_empty_is_gone(tmp_path):
    with alone_in(tmp_path / "runs" / "one"):
        assert (tmp_path / "runs" / "one").is_dir()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_gpu_that_fails_the_only_process_is_one_line_too(tmp_path):
    def work(rank: int, count: int, device: torch.device) -> None:
        raise RuntimeError(GPU_ERRORS[0][0])

    with pytest.raises(DataError, match=r"^the GPU is busy"):
        launch(work, Processes(0, 1), tmp_path)


# -- real processes that something else starts


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(STARTED_BY)}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def member(work: str, folder: Path, *argument: str) -> list[str]:
    return ["-m", "tests.member", work, str(folder), *argument]


def torchrun(*options: str) -> list[str]:
    return [str(BIN / "torchrun"), *options]


def run(command: list[str], **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=120)


def srun(work: str, folder: Path, *argument: str, count: int = 2) -> list[subprocess.Popen]:
    """What `srun -n 2` starts, as far as the processes can tell; the first `count` of them."""
    job = {**SRUN, "SLURM_JOB_ID": str(time.time_ns() % 10**9)}
    return [
        subprocess.Popen(
            [sys.executable, *member(work, folder, *argument)],
            cwd=ROOT,
            env=environment(**job | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def ended(processes: list[subprocess.Popen]) -> tuple[list[int], str]:
    """Exit codes, and what all said on standard error."""
    try:
        said = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], "".join(said)


def weights(folder: Path, rank: int) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / f"rank{rank}.safetensors")


def expect_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.fixture(scope="module")
def spawned(tmp_path_factory) -> Path:
    """A folder with a job, and the weights that two processes started here make of it."""
    folder = tmp_path_factory.mktemp("spawned")
    small = {"hidden": 16, "feed_forward": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 4}
    job = training_folder(folder, preset("default", **small, epochs=1, batch_size=101), customers=300, longest=10)
    launch(keep_weights, Processes(0, 2), folder, folder, job)
    (folder / "job.json").write_text(json.dumps(asdict(job)))
    expect_same(weights(folder, 0), weights(folder, 1))
    return folder


def job_alone(spawned: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copy(spawned / "job.json", folder)
    (folder / "packed").symlink_to(spawned / "packed")  # as a run has it
    return folder


def test_torchrun_makes_the_weights_of_the_spawned_run_to_the_bit(spawned, tmp_path):
    folder = job_alone(spawned, tmp_path / "job")
    done = run(torchrun("--standalone", "--nproc-per-node", "2", *member("keep_weights", folder)))
    assert done.returncode == 0, done.stderr
    assert "rank 0 is done on 2 processes on the CPU, started by torchrun" in done.stdout
    for rank in (0, 1):
        expect_same(weights(folder, rank), weights(spawned, rank))


def test_mpirun_makes_the_weights_of_the_spawned_run_to_the_bit(spawned, tmp_path):
    if shutil.which("mpirun") is None:
        pytest.skip("no mpirun here; Debian has it in openmpi-bin")
    folder = job_alone(spawned, tmp_path / "job")
    root = ["--allow-run-as-root"] if os.getuid() == 0 else []
    mpirun = ["mpirun", *root, "--oversubscribe", "-n", "2", sys.executable]
    done = run([*mpirun, *member("keep_weights", folder)])
    assert done.returncode == 0, done.stderr
    assert "started by mpirun" in done.stdout
    expect_same(weights(folder, 1), weights(spawned, 1))


def test_srun_works_twice_in_one_meeting_and_leaves_nothing(tmp_path):
    processes = srun("threads", tmp_path, "twice")
    said = processes[1].communicate(timeout=120)[0]
    assert ended(processes)[0] == [0, 0]
    assert said.splitlines() == [said.splitlines()[0]] * 2 and said.startswith("rank 1 of 2 has ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("work", "how", "codes", "message"),
    [
        ("fail_on_one", "kill", [1, -9], "caspr_train: process 0 of 2: another process ended without a word"),
        ("leader_fails", "", [1, 1], "caspr_train: process 0 of 2: the leader found no database"),
        ("leader_dies", "", [-9, 1], "caspr_train: process 0 of 2: it ended without a word"),
        # Stuck in a call that does not hear of it: torn out of it.
        ("stuck_while_one_fails", "I give up", [1, 1], "caspr_train: process 1 of 2: I give up"),
    ],
)
def test_a_failure_under_srun_ends_all_and_is_said_once(tmp_path, work, how, codes, message):
    found, said = ended(srun(work, tmp_path, how))
    lines = [line for line in said.splitlines() if line.startswith("caspr_train: ")]
    assert found == codes and len(lines) == 1 and lines[0].startswith(message), said
    assert "Traceback" not in said


def test_a_failure_under_torchrun_is_the_first_and_the_last_thing_said(tmp_path):
    done = run(torchrun("--standalone", "--nproc-per-node", "2", *member("fail_on_one", tmp_path, "bug")))
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("caspr_train: ")]
    assert lines == ["caspr_train: process 1 of 2: IndexError: a bug of the second process"]
    before, report = done.stderr.split("Root Cause", 1)
    assert before.index("caspr_train: ") < before.index("ChildFailedError")
    assert "IndexError: a bug of the second process" in report


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        job = {**SRUN, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "MASTER_PORT": str(port)}
        done = run([sys.executable, *member("threads", tmp_path)], **job)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        f"caspr_train: port {port} is in use on this host; set MASTER_PORT to a free one"
    )


def test_one_command_runs_alone_and_says_so_once(tmp_path):
    done = run(torchrun("--standalone", "--nproc-per-node", "2", "-m", "caspr_train", "embed"))
    assert done.returncode == 1 and "exitcode  : 2" in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("caspr_train: ")]
    assert len(lines) == 1 and "only train and finetune run in several; start this command without torchrun" in lines[0]


# -- two hosts: two network namespaces; the second has a drive of its own over the first one's folder


@contextmanager
def two_hosts() -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """(namespace, interface) of each."""
    names = [(f"caspr{os.getpid()}{side}", f"v{os.getpid()}{side}") for side in "ab"]
    made = [["ip", "netns", "add", namespace] for namespace, _ in names]
    (a, va), (b, vb) = names
    made.append(["ip", "link", "add", va, "netns", a, "type", "veth", "peer", "name", vb, "netns", b])
    for number, (namespace, interface) in enumerate(names, 1):
        made.append(["ip", "-n", namespace, "addr", "add", f"10.77.0.{number}/24", "dev", interface])
        made += [["ip", "-n", namespace, "link", "set", up, "up"] for up in ("lo", interface)]
    try:
        for command in made:
            try:
                subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                pytest.skip(f"no network namespaces here ({said.strip()}): run as root, with iproute2 installed")
        yield names[0], names[1]
    finally:
        for namespace, _ in names:
            with subprocess.Popen(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL) as deleting:
                deleting.wait()


def run_on_two_hosts(folder: Path, keep: Path, *arguments: str) -> list[subprocess.CompletedProcess]:
    """One process on the first host, two on the second, which sees an empty drive where the first has `folder`."""
    static = ("--nnodes", "2", "--master-addr", "10.77.0.1", "--master-port", "29511")
    with two_hosts() as hosts:
        started = []
        for node, (namespace, interface) in enumerate(hosts):
            command = torchrun(*static, "--node-rank", str(node), "--nproc-per-node", str(node + 1))
            hide = f"mount -t tmpfs none {folder} && " if node else ""
            shell = ["sh", "-c", hide + 'exec "$@"', "sh", *command, *member(arguments[0], folder, *arguments[1:])]
            more = {"GLOO_SOCKET_IFNAME": interface, "KEEP": str(keep), "TMPDIR": str(keep)}
            started.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", namespace, *shell],
                    cwd=ROOT,
                    env=environment(**more),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        try:
            said = [process.communicate(timeout=120) for process in started]
        finally:
            for process in started:
                process.kill()
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(started, said, strict=True)
    ]


def test_two_hosts_end_with_the_same_weights_though_only_one_has_the_data(spawned, tmp_path):
    folder, keep = job_alone(spawned, tmp_path / "job"), tmp_path / "keep"
    keep.mkdir()
    first, second = run_on_two_hosts(folder, keep, "keep_weights")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "rank 0 is done on 3 processes on the CPUs of 2 hosts, started by torchrun" in first.stdout
    where = {line.split(" worked in ")[1] for line in second.stdout.splitlines() if " worked in " in line}
    assert len(where) == 1 and where.pop().startswith(str(keep / "caspr-"))
    assert not list(keep.glob("caspr-*"))
    for rank in (1, 2):
        expect_same(weights(keep, 0), weights(keep, rank))


def test_a_failure_on_one_of_two_hosts_is_said_once_on_each(tmp_path):
    folder, keep = tmp_path / "job", tmp_path / "keep"
    folder.mkdir(), keep.mkdir()
    for host in run_on_two_hosts(folder, keep, "fail_on_one", "data"):
        lines = [line for line in host.stderr.splitlines() if line.startswith("caspr_train: ")]
        assert host.returncode == 1 and lines == ["caspr_train: process 1 of 3: the second process has no data"]
    assert not list(keep.glob("caspr-*"))

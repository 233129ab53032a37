"""What training, embedding and the input path cost here: `python -m caspr_train bench`.

Everything that is compared is measured in turn within one run, round after round, because machines are noisy: a figure
is the median of the rounds, a ratio is taken within each round. With synthetic data this needs torch and numpy alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from caspr_train.config import Config, preset
from caspr_train.distributed import Processes, add_over_processes, launch
from caspr_train.errors import UsageError
from caspr_train.files import whole
from caspr_train.learner import CUT, INSTANTS, ORDER, PIECE, Job, Learner, draws
from caspr_train.model import Caspr, Shape
from caspr_train.sequences import ALWAYS, RESERVED, SECONDS_PER_DAY, PackedSequences, Windows

# Values of the categorical attributes of the paper's KKBOX data; beside them it has this many numbers.
KKBOX_VALUES, KKBOX_NUMBERS, KKBOX_LENGTH = (41, 38, 2, 2, 22, 6), 6, 15
HORIZON_DAYS = 90
# FLOPs and bytes are counted on so many sequences, on the CPU, whatever is measured where.
COUNTED = 256
# The first calls of a subject hold what is set up once: on a GPU its libraries, kernels and memory.
WARMING_UP = 2
# The reference's Dataset holds so many sequences: more than a cache does, and made in a second.
REFERENCE_SEQUENCES = 200_000


@dataclass(frozen=True)
class Data:
    """What is trained on: how to get the packed sequences, in any process, and what a Job needs to know of them."""

    source: Callable[[], PackedSequences]
    shape: Shape
    days_scaler: tuple[float, float]
    horizon_seconds: int

    def job(self, config: Config) -> Job:
        looks_ahead = config.next_event_weight or config.future_window_weight
        return Job(config, self.shape, self.days_scaler, self.horizon_seconds if looks_ahead else 0)


def synthetic(customers: int, seed: int) -> Data:
    """Noise in the shape of the paper's KKBOX data: 15 activities of 6 categorical attributes and 6 numbers each."""
    shape = Shape([n + RESERVED for n in KKBOX_VALUES], KKBOX_NUMBERS + 1, [], 0)
    # An activity a day, more or less, before the cutoff: what the scaler would learn from them.
    days = np.log1p(np.arange(1, KKBOX_LENGTH + 1))
    scaler = (float(days.mean()), float(days.std()))
    return Data(partial(_kkbox, customers, seed), shape, scaler, int(HORIZON_DAYS * SECONDS_PER_DAY))


def _kkbox(customers: int, seed: int) -> PackedSequences:
    rng = np.random.default_rng(seed)
    rows = customers * KKBOX_LENGTH
    categories = np.empty((rows, len(KKBOX_VALUES)), np.int16)
    for i, values in enumerate(KKBOX_VALUES):
        categories[:, i] = rng.integers(RESERVED, RESERVED + values, rows, dtype=np.int16)
    numbers = np.empty((rows, KKBOX_NUMBERS + 1), np.float16)
    for i in range(KKBOX_NUMBERS + 1):
        numbers[:, i] = rng.standard_normal(rows, np.float32)
    # One activity a day for 15 days; the seconds between them are drawn like any other number.
    day = int(SECONDS_PER_DAY)
    age = np.tile(np.arange(KKBOX_LENGTH, 0, -1) * day, customers) - rng.integers(0, day, rows)
    return PackedSequences(
        categories=torch.from_numpy(categories),
        numbers=torch.from_numpy(numbers),
        age=torch.from_numpy(age.astype(np.int32)),
        money=torch.from_numpy(rng.standard_normal(rows, np.float32)),
        offsets=torch.arange(customers + 1) * KKBOX_LENGTH,
        profile_age=torch.full((customers,), ALWAYS, dtype=torch.int32),
        profile_categories=torch.zeros(customers, 0, dtype=torch.int16),
        profile_numbers=torch.zeros(customers, 0, dtype=torch.float16),
    )


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long."""

    data: Data
    config: Config
    processes: list[Processes]
    threads: int | None = None  # of each process; None: the processor's cores shared out
    rounds: int = 3
    seconds: float = 5.0  # a subject and round, at least one call
    steps: int | None = None  # so many calls instead
    against_reference: bool = False

    def __post_init__(self) -> None:
        for name in ("rounds", "seconds", "steps", "threads"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"--{name} {value}: expected a number above 0")
        if self.against_reference:
            if self.config.preset != "paper":
                raise UsageError(
                    f"--against reference: it is the preset paper written plainly; found --preset {self.config.preset}"
                )
            if all(p.count > 1 for p in self.processes):
                raise UsageError("--against reference runs in one process; --processes or --gpus has to contain 1")

    def threads_of(self, processes: Processes) -> int:
        return self.threads or max(1, (os.cpu_count() or 1) // processes.count)


@dataclass
class Subject:
    """Something to measure: `call` works through `batch` sequences, those of all processes together."""

    name: str
    batch: int
    call: Callable[[], Any]
    calls: int | None = None  # a round; set by the first


@dataclass(frozen=True)
class Measured:
    """One subject in one round and process."""

    name: str
    sequences: int  # of all processes together
    seconds: float
    processor_seconds: float  # of this process, all its threads
    peak_bytes: int  # of this process: resident memory, or the GPU's


def subjects(plan: Plan, sequences: PackedSequences, rank: int, count: int, device: torch.device) -> list[Subject]:
    """Training with the trainer's own step; in one process also embedding, the input path alone, and the reference."""
    config, t = plan.config, plan.config.sequence_length
    batch = min(config.batch_size, len(sequences))
    job = plan.data.job(config)
    windows = job.windows(sequences.to(device))
    learner = Learner(job, windows, device, rank, count)
    instants = windows.random_instants(draws(config, 0, INSTANTS)) if config.windows == "random" else None
    orders = _batches(torch.randperm(len(sequences), generator=draws(config, 0, ORDER)).to(device), batch)
    steps = itertools.count()

    def train() -> None:
        learner.model.train()
        learner.step(next(steps), 2**31, next(orders), instants)

    found = [Subject("train", batch, train)]
    if count > 1:
        return found
    in_turn = _batches(torch.arange(len(sequences)), batch)
    found.append(Subject("embed", batch, lambda: _embed(learner.model, windows, next(in_turn).to(device))))
    found.append(Subject("input", batch, lambda: _cut(windows, next(orders), instants)))
    if plan.against_reference:
        found += _reference_subjects(plan, sequences, batch, t, device)
    return found


@torch.no_grad()
def _embed(model: Caspr, windows: Windows, which: Tensor) -> None:
    """What the model does of the command `embed`; without its threads, where nobody would count operators."""
    model.eval()
    for piece in which.split(PIECE[which.device.type]):
        model.embed(windows.cut(piece)).float().cpu()


def _cut(windows: Windows, which: Tensor, instants: Tensor | None) -> None:
    for piece in which.split(CUT):
        windows.cut(piece, None if instants is None else instants[piece])


def _reference_subjects(
    plan: Plan, sequences: PackedSequences, batch: int, t: int, device: torch.device
) -> list[Subject]:
    try:
        from benchmarks import reference
    except ImportError:
        raise UsageError(
            "--against reference: benchmarks/reference.py is not part of the installed package; run from the root of "
            "the repository"
        ) from None
    mean, scale = plan.data.days_scaler
    offsets = sequences.offsets[: max(batch, REFERENCE_SEQUENCES) + 1]
    rows = int(offsets[-1])
    days = (torch.log1p(sequences.age[:rows].float() / SECONDS_PER_DAY) - mean) / scale
    data = reference.Sequences(sequences.categories[:rows], sequences.numbers[:rows], days, offsets, t)
    config, shape = plan.config, plan.data.shape
    torch.manual_seed(config.seed)
    model = reference.Caspr(
        shape.sequence_cardinalities, shape.sequence_numbers, t, config.hidden, config.feed_forward,
        config.encoder_layers, config.heads, config.dropout,
    ).to(device)  # fmt: skip
    optimizer, loader = reference.adam(model), reference.loader(data, batch)
    for_step, alone = _endless(loader), _endless(loader)
    return [
        Subject("reference train", batch, lambda: reference.step(model, optimizer, next(for_step), config.mask_share)),
        Subject("reference input", batch, lambda: next(alone)),
    ]


def _batches(order: Tensor, size: int) -> Iterator[Tensor]:
    """Batches of `size` for ever, in the given order; what is left over at its end is left out."""
    while True:
        yield from itertools.islice(order.split(size), len(order) // size)


def _endless(loader: torch.utils.data.DataLoader) -> Iterator[Any]:
    while True:
        yield from loader


def measure(subject: Subject, plan: Plan, device: torch.device) -> Measured:
    """Call the subject for the planned time or number. The first time it is warmed up before, unmeasured."""
    if subject.calls is None:
        for _ in range(WARMING_UP):
            subject.call()
        _finish(device)
        subject.calls = plan.steps or _calls_in(plan.seconds, subject, device)
    _forget_peak(device)
    started, processor = time.perf_counter(), time.process_time()
    for _ in range(subject.calls):
        subject.call()
    _finish(device)
    return Measured(
        subject.name,
        subject.batch * subject.calls,
        time.perf_counter() - started,
        time.process_time() - processor,
        _peak(device),
    )


def _calls_in(seconds: float, subject: Subject, device: torch.device) -> int:
    started = time.perf_counter()
    subject.call()
    _finish(device)
    # The processes of a step must agree how many there will be.
    mean = torch.tensor([time.perf_counter() - started, 1.0], dtype=torch.float64, device=device)
    total, processes = add_over_processes(mean).tolist()
    return max(1, math.floor(seconds * processes / total))


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # Linux alone can; elsewhere the peak is that of the process's whole life
            Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int:
    """Bytes since _forget_peak: the most that was resident, or allocated on the GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError, StopIteration):
        # Not getrusage: a spawned process begins with the peak of the one that spawned it.
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _in_process(rank: int, count: int, device: torch.device, folder: Path, plan: Plan, threads: int) -> None:
    """One round in one of several processes; what it found goes into a file."""
    torch.set_num_threads(threads)
    found = [measure(s, plan, device) for s in subjects(plan, plan.data.source(), rank, count, device)]
    with whole(folder / f"{rank}.json") as draft:
        draft.write_text(json.dumps([asdict(m) for m in found]))


# Operators that read of their first operand what they are asked for, and no more.
GATHERS = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_select.default,
    torch.ops.aten.gather.default,
    torch.ops.aten.embedding.default,
)


class Traffic(TorchDispatchMode):
    """Bytes of the operands and results of every operator that is no view: what would cross the memory bus if no cache
    held anything."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            read = (out, args[1:], kwargs) if func in GATHERS else (args, kwargs)
            self.bytes += sum(_bytes(x) for x in tree_leaves((read, out)) if isinstance(x, Tensor))
        return out


def _bytes(x: Tensor) -> int:
    """An expanded tensor holds no more than its storage."""
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())


# torch counts the attention kernels of GPUs and leaves out the CPU's. Backward: two products for each of the two of
# forward, and no more where a kernel works one out again.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, q, k, v, *_, **__: 2 * sdpa_flop_count(q, k, v)
    ),
}


def count(subject: Subject) -> tuple[float, float]:
    """FLOPs and bytes a sequence of one call. FLOPs are those of matrix products, a multiply and an add as two."""
    subject.call()  # what is set up once, such as the optimiser's state, is not counted
    # On a CPU the model works its attention out without matrix products; torch's attention, which it takes where it is
    # compiled, has the same ones written as such.
    compiled = mock.patch("torch.compiler.is_compiling", lambda: True)
    with compiled, FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as flops:
        subject.call()
    with Traffic() as traffic:
        subject.call()
    return flops.get_total_flops() / subject.batch, traffic.bytes / subject.batch


def run(plan: Plan, folder: Path, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Measure; {"sequences", "machine", "config", "rows", "ratios"} as plain JSON, the rounds of everything included.

    `folder` is where several processes meet and leave what they found.
    """
    sequences = plan.data.source()
    threads_before = torch.get_num_threads()
    say(f"{len(sequences):,} sequences of {len(sequences.age):,} activities")
    small = replace(plan, config=replace(plan.config, batch_size=COUNTED))
    costs = {s.name: count(s) for s in subjects(small, sequences, 0, 1, torch.device("cpu"))}
    alone: dict[Processes, list[Subject]] = {}
    rounds: dict[tuple[str, Processes], list[list[Measured]]] = {}
    for turn in range(plan.rounds):
        for processes in plan.processes:
            threads = plan.threads_of(processes)
            if processes.count == 1:
                torch.set_num_threads(threads)
                device = torch.device("cuda", 0) if processes.gpus else torch.device("cpu")
                if processes not in alone:
                    alone[processes] = subjects(plan, sequences, 0, 1, device)
                found = [[measure(s, plan, device)] for s in alone[processes]]
                torch.set_num_threads(threads_before)
            else:
                launch(_in_process, processes, folder, folder, plan, threads)
                files = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes.count)]
                found = [[Measured(**m) for m in same] for same in zip(*files, strict=True)]
            for same in found:
                rounds.setdefault((same[0].name, processes), []).append(same)
        say(f"round {turn + 1} of {plan.rounds} done")
    rows = [_row(plan, len(sequences), *key, costs[key[0]], found) for key, found in rounds.items()]
    return {
        "sequences": len(sequences),
        "machine": {
            "cores": os.cpu_count(),
            "torch": torch.__version__,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "config": plan.config.as_dict(),
        "rows": rows,
        "ratios": _ratios(rows),
    }


def _row(
    plan: Plan, sequences: int, name: str, processes: Processes, cost: tuple[float, float], rounds: list[list[Measured]]
) -> dict[str, Any]:
    """A round's rate is that of its slowest process; processor time and memory are sums over the processes."""
    rates = [same[0].sequences / max(m.seconds for m in same) for same in rounds]
    rate = statistics.median(rates)
    processor_rates = [same[0].sequences / sum(m.processor_seconds for m in same) for same in rounds]
    return {
        "what": name,
        "processes": processes.count,
        "device": "GPU" if processes.gpus else "CPU",
        "threads": plan.threads_of(processes),
        "batch": min(plan.config.batch_size, sequences),
        "sequences_per_second": rate,
        "epoch_seconds": sequences / rate,
        "total_seconds": sequences / rate * plan.config.epochs_for(sequences) if name.endswith("train") else None,
        "processor_seconds": sequences / statistics.median(processor_rates),
        "peak_bytes": max(sum(m.peak_bytes for m in same) for same in rounds),
        "flops_per_sequence": cost[0],
        "bytes_per_sequence": cost[1],
        "rates": rates,
        "processor_rates": processor_rates,
        "rounds": [[asdict(m) for m in same] for same in rounds],
    }


def _ratios(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Rates against rates of the same round, by the clock and by processor time, which other work disturbs less."""
    by = {(row["what"], row["device"], row["processes"]): row for row in rows}
    ratios = {}

    def ratio(text: str, above: tuple[str, str, int], below: tuple[str, str, int]) -> None:
        if above in by and below in by:
            ratios[text] = {
                name: [a / b for a, b in zip(by[above][rates], by[below][rates], strict=True)]
                for name, rates in (("clock", "rates"), ("processor", "processor_rates"))
            }

    for what, device, processes in by:
        if processes == 1:
            ratio(f"{what} / reference {what}", (what, device, 1), (f"reference {what}", device, 1))
            if what == "embed":
                ratio("embed / train", (what, device, 1), ("train", device, 1))
        else:
            unit = "GPU" if device == "GPU" else "process"
            ratio(f"train, {processes} against 1 {unit}", (what, device, processes), ("train", device, 1))
    return ratios


COLUMNS = (
    "what", "processes", "device", "threads", "batch", "sequences/s", "from", "to", "epoch s", "total s",
    "processor s", "peak memory", "FLOP/s", "bytes/s",
)  # fmt: skip
NOTES = """\
sequences/s: median of the rounds ({rounds}), from the slowest to the fastest.
epoch s, total s, processor s: worked out from it, not run: {sequences:,} sequences an epoch, total {epochs}. Steps
  alone: no start, validation or checkpoint. processor s: an epoch's, of all threads and processes.
peak memory: the processes' peaks added up; one process holds the data of all that is measured in it.
FLOP/s: of matrix products; bytes/s: operands and results of every operator, cached or not. Both are counted on
  {counted} sequences, per sequence, and multiplied by sequences/s."""


def table(result: dict[str, Any]) -> str:
    """The result as people read it."""
    config, sequences = Config(**result["config"]), result["sequences"]
    lines = [COLUMNS]
    for row in result["rows"]:
        rate = row["sequences_per_second"]
        total = row["total_seconds"]
        lines.append((
            row["what"], str(row["processes"]), row["device"], str(row["threads"]), f"{row['batch']:,}", f"{rate:,.0f}",
            f"{min(row['rates']):,.0f}", f"{max(row['rates']):,.0f}", f"{row['epoch_seconds']:,.2f}",
            "" if total is None else f"{total:,.1f}", f"{row['processor_seconds']:,.1f}",
            f"{row['peak_bytes'] / 2**20:,.0f} MiB", _short(row["flops_per_sequence"] * rate),
            _short(row["bytes_per_sequence"] * rate),
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    for name, ratios in result["ratios"].items():
        clock = ratios["clock"]
        text.append(
            f"{name}: {statistics.median(clock):.2f} x  (from {min(clock):.2f} to {max(clock):.2f}, round by round; "
            f"{statistics.median(ratios['processor']):.2f} x by processor time)"
        )
    epochs = config.epochs_for(sequences)
    text.append(
        NOTES.format(
            rounds=len(result["rows"][0]["rates"]),
            sequences=sequences,
            epochs=f"{epochs} epoch{'s' if epochs > 1 else ''}",
            counted=min(COUNTED, sequences),
        )
    )
    return "\n".join(text)


def _short(number: float) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:,.0f}"


def bench_command(options: argparse.Namespace, open_project: Callable[[], tuple[Any, Any]]) -> None:
    """`caspr_train bench`. `open_project` gives the dbt project and its warehouse; synthetic data needs neither."""
    config = preset(options.preset, batch_size=options.batch_size)
    processes = [
        Processes.choose(gpus, processes)
        for gpus in numbers("--gpus", options.gpus)
        for processes in numbers("--processes", options.processes)
    ]
    if options.synthetic is None and options.customers is not None:
        raise UsageError("--customers is the size of the synthetic data: add --synthetic KKBOX or leave it out")
    if options.synthetic is None and options.against:
        raise UsageError("--against reference is measured on synthetic data: add --synthetic KKBOX")
    if options.customers is not None and options.customers < 1:
        raise UsageError(f"--customers {options.customers}: expected a whole number of 1 or more")
    if options.json and not options.json.absolute().parent.is_dir():
        raise UsageError(f"--json {options.json}: there is no such folder; make it or name another file")
    with tempfile.TemporaryDirectory(prefix="caspr-bench-") as scratch:
        folder = Path(scratch)
        if options.synthetic:
            data = synthetic(options.customers or 1_000_000, config.seed)
        else:
            data, config = _marts(*open_project(), config, folder)
        result = run(
            Plan(
                data,
                config,
                processes,
                options.threads,
                options.rounds,
                options.seconds,
                options.steps,
                options.against == "reference",
            ),
            folder,
            say=partial(print, file=sys.stderr, flush=True),
        )
    if options.json:
        with whole(options.json) as draft:
            draft.write_text(json.dumps(result, indent=1))
    print(table(result))


def numbers(option: str, text: str | None) -> list[int | None]:
    """1,2 or 1..4 as numbers; [None] where the option was not given."""
    if text is None:
        return [None]
    match = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if match and int(match[1]) <= int(match[2]):
        return list(range(int(match[1]), int(match[2]) + 1))
    if re.fullmatch(r"\d+(,\d+)*", text):
        return list(dict.fromkeys(map(int, text.split(","))))
    raise UsageError(f"{option} {text}: expected numbers such as 1,2 or 1..4")


def _marts(project: Any, warehouse: Any, config: Config, folder: Path) -> tuple[Data, Config]:
    """The train cutoffs of the marts, packed into `folder`, which every process maps."""
    from caspr_train.bundle import shape_of
    from caspr_train.runs import Marts

    config = replace(config, sequence_length=project.published("activity_sequences", "sequence_length"))
    marts = Marts.read(warehouse, config, folder)
    source, encoding = partial(PackedSequences.load, marts.train.folder), marts.encoding
    return Data(source, shape_of(encoding), encoding.days_scaler, marts.horizon_seconds), config

"""bench: what its table says is what was measured, counted and compared, and it needs torch and numpy alone."""

import json
import math
import os
import statistics
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import reference
from caspr_train import bench
from caspr_train.cli import main
from caspr_train.config import preset
from caspr_train.distributed import Processes
from tests.projects import ROOT

CPU = torch.device("cpu")
# Python, torch with what it requires, and numpy: nothing else can be found, as if it were not installed.
ONLY_TORCH_AND_NUMPY = """
import sys
from importlib.machinery import PathFinder

ALLOWED = sys.stdlib_module_names | {
    "torch", "torchgen", "functorch", "numpy", "caspr_train", "benchmarks",
    "filelock", "typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "setuptools",
}

class Allowed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ALLOWED or name.startswith("_sysconfigdata"):
            return super().find_spec(name, path, target)

sys.meta_path[:] = [Allowed if finder is PathFinder else finder for finder in sys.meta_path]
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[str, dict]:
    """The table and the JSON of one small run with everything in it, where only torch and numpy can be imported."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "sitecustomize.py").write_text(ONLY_TORCH_AND_NUMPY)
    command = "bench --synthetic KKBOX --customers 600 --batch-size 200 --steps 2 --rounds 2 --threads 1 --gpus 0"
    command += f" --processes 1..2 --against reference --json {folder / 'bench.json'}"
    done = subprocess.run(
        [sys.executable, "-m", "caspr_train", *command.split()],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "bench.json").read_text())


def test_the_table_has_a_row_for_each_thing_measured_and_its_columns_line_up(measured):
    text, result = measured
    header, *lines = text.splitlines()
    for column in ("processes", "sequences/s", "epoch s", "total s", "processor s", "peak memory", "FLOP/s", "bytes/s"):
        assert column in header
    rows = [(row["what"], row["processes"]) for row in result["rows"]]
    alone = ["train", "embed", "input", "reference train", "reference input"]
    assert rows == [*((what, 1) for what in alone), ("train", 2)]
    assert all(len(line) == len(header) and line.startswith(what) for line, (what, _) in zip(lines, rows, strict=False))


def test_every_figure_follows_from_the_rounds(measured):
    text, result = measured
    for row in result["rows"]:
        assert len(row["rounds"]) == 2 and row["batch"] == 200
        assert all(len(same) == row["processes"] for same in row["rounds"])
        assert all(m["sequences"] == 400 and m["seconds"] > 0 and m["peak_bytes"] > 0 for r in row["rounds"] for m in r)
        rates = [400 / max(m["seconds"] for m in same) for same in row["rounds"]]
        assert row["rates"] == pytest.approx(rates)
        used = [400 / sum(m["processor_seconds"] for m in same) for same in row["rounds"]]
        assert row["processor_rates"] == pytest.approx(used)
        assert row["sequences_per_second"] == pytest.approx(statistics.median(rates))
        assert row["epoch_seconds"] == pytest.approx(600 / statistics.median(rates))
        if row["what"] == "train":
            assert row["total_seconds"] == pytest.approx(row["epoch_seconds"] * 334)  # of three steps: the first 1000
        assert (row["flops_per_sequence"] == 0) == row["what"].endswith("input")
    rows = {(row["what"], row["processes"]): row for row in result["rows"]}
    pairs = {
        "train / reference train": (("train", 1), ("reference train", 1)),
        "input / reference input": (("input", 1), ("reference input", 1)),
        "embed / train": (("embed", 1), ("train", 1)),
        "train, 2 against 1 process": (("train", 2), ("train", 1)),
    }
    assert set(result["ratios"]) == set(pairs)
    for name, (above, below) in pairs.items():
        for kind, of in (("clock", "rates"), ("processor", "processor_rates")):
            expected = [a / b for a, b in zip(rows[above][of], rows[below][of], strict=True)]
            assert result["ratios"][name][kind] == pytest.approx(expected)
        assert f"{name}: {statistics.median(result['ratios'][name]['clock']):.2f} x" in text


def test_a_round_is_as_long_as_asked_whatever_the_first_calls_take(monkeypatch):
    now, takes = 0.0, iter([30.0, 2.0])

    def call() -> None:
        nonlocal now
        now += next(takes, 0.5)

    monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: now, process_time=lambda: now))
    subject = bench.Subject("train", 10, call)
    for _ in range(2):
        measured = bench.measure(subject, SimpleNamespace(seconds=4.0, steps=None), CPU)
        assert (measured.seconds, measured.sequences) == (4.0, 80)


def counted(customers: int = 512, **changes) -> dict[str, tuple[float, float]]:
    """FLOPs and bytes a sequence, by subject."""
    config = preset("paper", batch_size=256, **changes)
    plan = bench.Plan(bench.synthetic(customers, 7), config, [Processes(0, 1)], against_reference=True)
    return {s.name: bench.count(s) for s in bench.subjects(plan, plan.data.source(), 0, 1, CPU)}


def test_flops_are_those_of_the_matrix_products_counted_by_hand():
    found = counted()
    t, hidden, feed_forward, heads, layers = 15, 16, 32, 8, 6
    codes = [n + 3 for n in (41, 38, 2, 2, 22, 6)]
    numbers = 7  # six, and the seconds since the previous activity; one more is an input and no target

    def linear(rows: float, inputs: int, outputs: int) -> float:
        return 2 * rows * inputs * outputs

    attention = linear(t, hidden, 3 * hidden) + linear(t, hidden, hidden) + 2 * heads * linear(t, hidden // heads, t)
    block = attention + linear(t, hidden, feed_forward) + linear(t, feed_forward, hidden)
    event = sum(math.ceil(math.sqrt(n)) for n in codes) + 2 * (numbers + 1) + math.ceil(math.sqrt(t))
    events = linear(t, event, hidden)
    encoder = layers * block + linear(1, 2 * hidden, 2 * hidden) + linear(1, 2 * hidden, hidden)
    decoder = layers * (block + 2 * linear(1, hidden, hidden))
    heads_at_masked = linear(0.3 * t, hidden, sum(codes) + numbers)
    forward = events + encoder + events + decoder + heads_at_masked
    assert found["embed"][0] == pytest.approx(events + encoder, rel=0.02)
    assert found["train"][0] == pytest.approx(3 * forward, rel=0.02)  # backward: one product by input, one by weight
    # The reference does the same work, and projects queries and keys that meet a memory of one token.
    cross = layers * (linear(t, hidden, hidden) + linear(1, hidden, 2 * hidden) + linear(t, hidden, hidden))
    plainly = events + encoder + layers * block + cross + heads_at_masked
    assert found["reference train"][0] == pytest.approx(3 * plainly, rel=0.02)


def test_bytes_are_of_what_is_touched_not_of_what_there_is():
    small, large = counted(512), counted(2048)
    packed = bench.synthetic(1, 7).source()
    row = sum(x[0].numel() * x.element_size() for x in (packed.categories, packed.numbers, packed.age))
    assert small["input"][1] > 15 * row  # read at least once, and written
    for name, (_, traffic) in small.items():
        assert large[name][1] == pytest.approx(traffic, rel=0.05), name


def ring(rng: np.random.Generator, customers: int, t: int) -> reference.Sequences:
    """Two attributes of four values that follow one another in a ring: any neighbour gives a masked event away."""
    place = rng.integers(0, 4, (customers, 2, 1)) + np.arange(t)
    categories = torch.from_numpy(place % 4).movedim(1, 2).reshape(-1, 2)
    rows = customers * t
    offsets = torch.arange(customers + 1) * t
    return reference.Sequences(categories, torch.zeros(rows, 1), torch.zeros(rows), offsets, t)


def test_the_reference_learns():
    torch.manual_seed(0)
    model = reference.Caspr([4, 4], 1, t=6, layers=1, heads=2, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loader = reference.loader(ring(np.random.default_rng(0), 1024, 6), 128)
    losses = [float(reference.step(model, optimizer, batch)) for _ in range(40) for batch in loader]
    chance = 2 * math.log(4) / 3  # the mean over two attributes at their entropy and a number that is always 0
    assert losses[0] > 0.9 * chance
    assert statistics.mean(losses[-8:]) < chance / 2


def test_the_reference_predicts_masked_events_from_the_others_and_is_asked_for_no_other():
    torch.manual_seed(0)
    model = reference.Caspr([5, 7], 2, t=6, layers=1, heads=2).eval()
    codes = torch.stack([torch.randint(5, (32, 6)), torch.randint(7, (32, 6))], dim=-1)
    numbers, days = torch.randn(32, 6, 2), torch.randn(32, 6)
    valid, hide = torch.ones(32, 6, dtype=torch.bool), torch.rand(32, 6) < 0.3

    other_codes, other_numbers = (codes + 1) % 5, numbers + 1
    at_masked = torch.where(hide[..., None], other_codes, codes), torch.where(hide[..., None], other_numbers, numbers)
    events = model.events(codes, numbers, days, hide)
    assert torch.equal(events, model.events(*at_masked, days, hide)), "a masked event is an input"
    loss = model(codes, numbers, days, valid, hide)
    assert model(*at_masked, days, valid, hide) != loss, "a masked event is the target"

    elsewhere = torch.where(hide[..., None], codes, other_codes), torch.where(hide[..., None], numbers, other_numbers)
    model.events = lambda *_: events  # inputs held still: what is left of the other events is targets
    assert model(*elsewhere, days, valid, hide) == loss, "an event that is seen is the target"


def test_the_reference_reads_the_same_windows_and_padding_changes_nothing():
    rng = np.random.default_rng(3)
    lengths = torch.from_numpy(rng.integers(1, 9, 40))
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    rows = int(offsets[-1])
    codes, numbers, days = torch.randint(5, (rows, 2)), torch.randn(rows, 3), torch.randn(rows)
    data = reference.Sequences(codes, numbers, days, offsets, 6)
    for i in range(len(data)):
        kept = slice(max(int(offsets[i]), int(offsets[i + 1]) - 6), int(offsets[i + 1]))
        got_codes, got_numbers, got_days, valid = data[i]
        assert valid.tolist() == [True] * min(int(lengths[i]), 6) + [False] * max(0, 6 - int(lengths[i]))
        for got, expected in ((got_codes, codes), (got_numbers, numbers), (got_days, days)):
            assert torch.equal(got[valid], expected[kept])
    torch.manual_seed(0)
    model = reference.Caspr([5, 5], 3, t=6, layers=2, heads=2).eval()
    hide = data.valid & (torch.rand(data.valid.shape) < 0.3)
    loss = model(data.categories, data.numbers, data.days, data.valid, hide).detach()
    other = torch.where(data.valid[..., None], data.numbers, 9.0)
    assert loss.isfinite()
    torch.testing.assert_close(model(data.categories, other, data.days, data.valid, hide).detach(), loss)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--customers 5", "--customers is the size of the synthetic data"),
        ("--against reference", "--against reference is measured on synthetic data"),
        ("--synthetic KKBOX --customers 0", "--customers 0: expected a whole number of 1 or more"),
        ("--synthetic KKBOX --processes 2..1", "--processes 2..1: expected numbers such as 1,2 or 1..4"),
        ("--synthetic KKBOX --gpus 0 --processes 0", "--processes 0: expected a whole number of 1 or more"),
        ("--synthetic KKBOX --steps 0", "--steps 0: expected a number above 0"),
        ("--synthetic KKBOX --rounds 0", "--rounds 0: expected a number above 0"),
        ("--synthetic KKBOX --preset default --against reference", "found --preset default"),
        ("--synthetic KKBOX --against reference --processes 2", "has to contain 1"),
        ("--synthetic KKBOX --json nowhere/at/all.json", "--json nowhere/at/all.json: there is no such folder"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(arguments, message, capsys):
    assert main(["bench", *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and said.startswith("caspr_train: ")

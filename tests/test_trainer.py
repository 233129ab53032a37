"""The laws of training: noise stays noise, a pattern is found, processes agree, a seed is a promise."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from torch.nn.parallel import DistributedDataParallel

from caspr_train.config import preset
from caspr_train.distributed import Processes, launch
from caspr_train.encoding import Encoding
from caspr_train.errors import DataError
from caspr_train.learner import VALIDATION, Learner, draws
from caspr_train.model import Caspr
from caspr_train.objective import draw_mask
from caspr_train.packing import pack_folder
from caspr_train.sequences import PAD, PackedSequences, load_split
from caspr_train.trainer import Job, learning_rate, train, validate
from tests.frames import SCHEMA, at, job_of, marts, training_folder

ALONE = Processes(gpus=0, count=1)
SMALL = {"hidden": 16, "feed_forward": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 4, "embedding_width": 8}


def fitted(folder: Path, job: Job, processes: Processes = ALONE) -> tuple[dict, dict]:
    launch(train, processes, folder, folder, job)
    return json.loads((folder / "metrics.json").read_text()), safetensors.torch.load_file(
        folder / "weights.safetensors"
    )


def cycle(rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
    """Types that follow one another in a ring: any neighbour gives a masked event away."""
    start = np.repeat(rng.integers(0, 4, len(lengths)), lengths)
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.array(["order", "visit", "ticket", "answer"])[(start + place) % 4]


def coin(rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
    return rng.choice(["order", "visit", "ticket", "answer"], int(lengths.sum()))


@pytest.mark.parametrize("name", ["paper", "default"])
def test_noise_stays_at_its_entropy_and_a_pattern_falls_below_half_of_it(tmp_path, name):
    small = {**SMALL, "hidden": 32, "dropout": 0.0, "batch_size": 64, "epochs": 60, "learning_rate": 1e-2}
    config = preset(name, **small, validation_share=0.25, masked_weight=1.0)
    entropy = np.log(4)
    for types, holds in ((coin, lambda loss: loss > entropy - 0.03), (cycle, lambda loss: loss < entropy / 2)):
        folder = tmp_path / types.__name__
        folder.mkdir()
        metrics, _ = fitted(folder, training_folder(folder, config, customers=800, longest=20, types=types))
        loss = metrics["validation"]["masked"][0]  # cross-entropy of activity_type at masked, held-out events
        assert holds(loss), f"{types.__name__}: {loss:.3f} against an entropy of {entropy:.3f}"


@pytest.mark.parametrize("masked_weight", [0.0, 1.0])
def test_a_baseline_is_of_the_targets_of_the_loss_beside_it(tmp_path, masked_weight):
    config = preset("default", **SMALL, masked_weight=masked_weight)
    job = training_folder(tmp_path, config, customers=200)
    sequences = PackedSequences.load(tmp_path / "packed")
    windows, which = job.windows(sequences), torch.arange(200)
    seen = sequences.count_values(which >= 0, job.shape.sequence_cardinalities)
    said = validate(Caspr(config, job.shape), windows, which, job, seen)
    batch = windows.cut(which, windows.random_instants(draws(config, 0, VALIDATION)))
    noise = torch.rand(batch.valid.shape, generator=draws(config, 1, VALIDATION))
    hide = draw_mask(batch.valid, config.mask_share, noise)
    targets = {
        "next": (batch.next_categories, batch.next_numbers),
        "masked": (batch.categories[hide], batch.numbers[hide]) if masked_weight else None,
    }
    for objective, asked in targets.items():
        if asked is None:
            assert said[objective] is said[f"{objective}_baseline"] is None
            continue
        expected = []
        for codes, counts in zip(asked[0].unbind(1), seen, strict=True):
            chances = (counts + 1) / (counts[PAD + 1 :] + 1).sum()
            expected.append(-chances[codes[codes != PAD]].log().mean())
        expected += [column[~column.isnan()].var(correction=0) for column in asked[1].unbind(1)]
        assert said[f"{objective}_baseline"] == pytest.approx([float(x) for x in expected], rel=1e-4)
        assert len(said[objective]) == len(expected)


def keep_weights(rank: int, count: int, device: torch.device, folder: Path, job: Job) -> None:
    model = train(rank, count, device, folder, job)
    safetensors.torch.save_file(model.state_dict(), folder / f"rank{rank}.safetensors")


@pytest.mark.parametrize("name", ["paper", "default"])
def test_two_processes_end_with_identical_weights_and_near_those_of_one(tmp_path, name):
    # A batch that two processes cannot halve, and shares of several pieces.
    config = preset(name, **SMALL, epochs=2, batch_size=1027, dropout=0.0)
    job = training_folder(tmp_path, config, customers=1500, longest=10)
    launch(keep_weights, Processes(0, 2), tmp_path, tmp_path, job)
    first, second = (safetensors.torch.load_file(tmp_path / f"rank{r}.safetensors") for r in (0, 1))
    for key in first:
        assert torch.equal(first[key], second[key]), key
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    alone, one = fitted(tmp_path, job)
    assert metrics["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-3)
    for key in first:
        torch.testing.assert_close(first[key], one[key], atol=2e-3, rtol=2e-2)


def keep_weights_of_hosts_that_round_differently(
    rank: int, count: int, device: torch.device, folder: Path, job: Job
) -> None:
    def rounded(model: Caspr, future: torch.Tensor, content: torch.Tensor) -> None:
        set_future_scale(model, future + rank * 1e-3, content * (1 + rank * 1e-3))

    def sent_again(ddp: DistributedDataParallel) -> None:
        raise AssertionError("buffers are sent with a step")

    set_future_scale, Caspr.set_future_scale = Caspr.set_future_scale, rounded
    DistributedDataParallel._sync_buffers = sent_again
    keep_weights(rank, count, device, folder, job)


def test_buffers_are_those_of_the_first_process_and_sent_once(tmp_path):
    config = preset("default", **SMALL, epochs=1, batch_size=64)
    job = training_folder(tmp_path, config, customers=100)
    launch(keep_weights_of_hosts_that_round_differently, Processes(0, 2), tmp_path, tmp_path, job)
    first, second = (safetensors.torch.load_file(tmp_path / f"rank{r}.safetensors") for r in (0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (first["future_mean"] != 0).all()


def test_the_windows_of_a_step_are_looked_up_once(tmp_path, monkeypatch):
    cuts, looked_up = Learner.cuts, []
    monkeypatch.setattr(Learner, "cuts", lambda *given: (looked_up.append(1), cuts(*given))[1])
    metrics, _ = fitted(tmp_path, training_folder(tmp_path, preset("default", **SMALL, epochs=2, batch_size=64)))
    assert len(looked_up) == metrics["steps"]


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others(tmp_path):
    config = preset("default", **SMALL, epochs=2)
    job = training_folder(tmp_path, config, customers=200)
    _, first = fitted(tmp_path, job)
    _, second = fitted(tmp_path, job)
    assert all(torch.equal(first[key], second[key]) for key in first)
    _, other = fitted(tmp_path, replace(job, config=replace(config, seed=8)))
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", ["paper", "default"])
def test_of_several_train_cutoffs_only_the_first_moves_a_weight(tmp_path, name):
    """The law of time: at the first one a vector must not come from who has seen what its labels are about."""
    config = preset(name, **SMALL, epochs=1, batch_size=64)
    first, found = marts(200), []
    for place, seed in enumerate((1, 2)):
        folder = tmp_path / str(place)
        folder.mkdir()
        encoding = Encoding(SCHEMA, config.number_transform, config.minimum_count).fit(*first)
        later = [at(rows, datetime(2025, 4, 1)) for rows in marts(200, seed=seed)]
        both = [pa.concat_tables(pair) for pair in zip(first, later, strict=True)]
        pack_folder(folder / "packed", *both, encoding, config.validation_share, datetime(2025, 1, 1))
        fit, held_out = load_split(folder / "packed")
        assert fit.sum() + held_out.sum() == 200 and not (fit | held_out)[200:].any()
        found.append(fitted(folder, job_of(config, encoding)))
    (one, weights), (two, same) = found
    assert one["validation"] == two["validation"]
    assert all(torch.equal(weights[key], same[key]) for key in weights)


def fail_on_one(rank: int, count: int, device: torch.device) -> None:
    if rank == 1:
        raise DataError("the second process has no data")


def test_a_process_that_fails_is_heard_in_its_own_words(tmp_path):
    with pytest.raises(DataError, match=r"^process 1 of 2: the second process has no data$"):
        launch(fail_on_one, Processes(0, 2), tmp_path)
    assert list(tmp_path.iterdir()) == []


def break_on_one(rank: int, count: int, device: torch.device) -> None:
    if rank == 1:
        raise IndexError("a bug")


def test_a_bug_in_a_process_keeps_its_traceback(tmp_path):
    with pytest.raises(Exception, match="break_on_one") as raised:
        launch(break_on_one, Processes(0, 2), tmp_path)
    assert not isinstance(raised.value, DataError)


def test_fewer_sequences_than_processes_in_a_step_still_train(tmp_path):
    config = preset("paper", **SMALL, epochs=2, batch_size=3, validation_share=0.0)
    metrics, _ = fitted(tmp_path, training_folder(tmp_path, config, customers=7), Processes(0, 2))
    assert metrics["steps"] == 6 and np.isfinite(metrics["train_loss"]) and metrics["validation_loss"] is None


def test_the_learning_rate_is_a_pure_function_that_warms_up_and_cools_down():
    config = preset("default")
    assert config.epochs_for(100_000) == 3 and config.epochs_for(100) == 200 and preset("paper").epochs_for(100) == 1000
    rates = [learning_rate(step, 200, config) for step in range(200)]
    assert rates[0] == pytest.approx(config.learning_rate / 10) and max(rates) == pytest.approx(config.learning_rate)
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] < config.learning_rate / 1000
    assert {learning_rate(s, 200, preset("paper")) for s in range(200)} == {1e-3}


def test_plain_lines_where_the_output_is_no_terminal(tmp_path, capfd):
    config = preset("paper", **SMALL, epochs=2)
    fitted(tmp_path, training_folder(tmp_path, config, customers=50))
    said = capfd.readouterr().err
    lines = said.strip().split("\n")
    assert "epoch 1/2  loss" in lines[0] and "sequences/s" in lines[-1] and "0 s left" in lines[-1]
    assert "\r" not in said


def test_a_bar_on_a_terminal(tmp_path):
    config = preset("paper", **SMALL, epochs=2)
    job = training_folder(tmp_path, config, customers=50)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    job_file = tmp_path / "job.json"
    job_file.write_text(json.dumps({"config": config.as_dict(), "shape": vars(job.shape), "days": job.days_scaler}))
    code = (
        "import json, sys; from pathlib import Path; import torch\n"
        "from caspr_train.config import Config; from caspr_train.model import Shape\n"
        "from caspr_train.trainer import Job, train\n"
        f"folder = Path({str(tmp_path)!r}); said = json.loads((folder / 'job.json').read_text())\n"
        "job = Job(Config(**said['config']), Shape(**said['shape']), tuple(said['days']), 0)\n"
        "train(0, 1, torch.device('cpu'), folder, job)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=slave, stdin=slave, stdout=slave)
    os.close(slave)
    said = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # the terminal is closed when the process ends
            break
        if not chunk:
            break
        said += chunk
    assert process.wait() == 0, said
    assert b"epoch 2/2" in said and b"sequences/s" in said and b"\r" in said and b"loss" in said


@pytest.mark.parametrize("name", ["paper", "default"])
@pytest.mark.parametrize("changes", [{}, {"sequence_length": 1}])
def test_a_single_customer_and_windows_of_one_activity_train(tmp_path, name, changes):
    config = preset(name, **SMALL, epochs=2, validation_share=0.0, **changes)
    metrics, weights = fitted(tmp_path, training_folder(tmp_path, config, customers=1))
    assert metrics["steps"] == 2 and np.isfinite(metrics["train_loss"])
    assert all(weight.isfinite().all() for weight in weights.values())

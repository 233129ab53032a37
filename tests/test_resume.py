"""Long runs: whatever interrupts a training, going on gives the weights that no interruption would have given."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from caspr_train import checkpoint, trainer
from caspr_train.config import Config, preset
from caspr_train.distributed import Processes, launch
from caspr_train.errors import DataError
from caspr_train.learner import ORDER, Learner, draws
from caspr_train.runs import expect_interrupted
from caspr_train.sequences import load_split
from caspr_train.stopping import Stopped
from caspr_train.trainer import Job, train
from tests.frames import training_folder

SMALL = {"hidden": 16, "feed_forward": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 4, "embedding_width": 8}
# A training in a process of its own, which can be killed.
PROGRAM = """
import json, sys
from pathlib import Path
from caspr_train.config import Config
from caspr_train.distributed import Processes, launch
from caspr_train.errors import CasprError
from caspr_train.model import Shape
from caspr_train.trainer import Job, train
if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    said = json.loads((folder / "job.json").read_text())
    job = Job(**{**said, "config": Config(**said["config"]), "shape": Shape(**said["shape"])})
    try:
        launch(train, Processes(0, count), folder, folder, job)
    except CasprError as error:
        print(f"caspr_train: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
"""
# Processes that finish a step which never ends.
STUCK = """
import os, signal, sys, time
from pathlib import Path
from caspr_train.distributed import Processes, launch
def stuck(rank, count, device, folder):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / f"waiting.{os.getpid()}").touch()
    time.sleep(3600)
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    try:
        launch(stuck, Processes(0, 2), folder, folder)
    except KeyboardInterrupt:
        print("caspr_train: interrupted", file=sys.stderr)
        sys.exit(130)
"""


def prepared(folder: Path, config: Config, minutes: float = 0.0, **options) -> Job:
    """A folder to train in, with a checkpoint after every step unless said otherwise."""
    folder.mkdir(parents=True)
    job = training_folder(folder, config, **options)
    job = replace(job, identity={"data": "made up", **config.as_dict()}, checkpoint_minutes=minutes)
    (folder / "job.json").write_text(json.dumps(asdict(job)))
    (folder / "program.py").write_text(PROGRAM)
    return job


def begin(folder: Path, processes: int = 1) -> subprocess.Popen:
    command = [sys.executable, str(folder / "program.py"), str(folder), str(processes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def finish(folder: Path, processes: int = 1) -> str:
    process = begin(folder, processes)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return said


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "weights.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def steps_done(folder: Path) -> int:
    kept = checkpoint.found(folder / "checkpoints")
    return kept[0].step if kept else 0


def wait_for(folder: Path, process: subprocess.Popen, step: int) -> None:
    while steps_done(folder) < step and process.poll() is None:
        time.sleep(0.005)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_any_moment_it_goes_on_to_the_same_weights_bit_for_bit(tmp_path, processes):
    config = preset("default", **SMALL, epochs=6, batch_size=64)
    for name in ("whole", "killed"):
        prepared(tmp_path / name, config, customers=260)
    finish(tmp_path / "whole", processes)
    rng, kills = np.random.default_rng(0), 0
    for _ in range(3):
        process = begin(tmp_path / "killed", processes)
        wait_for(tmp_path / "killed", process, steps_done(tmp_path / "killed") + int(rng.integers(2, 6)))
        time.sleep(float(rng.random()) * 0.02)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    finish(tmp_path / "killed", processes)
    assert kills == 3
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed")]
    assert metrics[0]["history"] == metrics[1]["history"]
    assert (metrics[0]["resumed"], metrics[1]["resumed"]) == (0, 3)


class Died(Exception):
    """What a kill is, in a process that goes on testing."""


def test_from_every_checkpoint_it_goes_on_to_the_same_weights_and_history(tmp_path, monkeypatch):
    config = preset("default", **SMALL, epochs=3, batch_size=64)
    job = prepared(tmp_path / "whole", config, customers=200)
    save, saved = checkpoint.save, []
    monkeypatch.setattr(checkpoint, "save", lambda *given: (save(*given), saved.append(given[2].step)))
    expected = fitted(tmp_path / "whole", job)
    assert set(saved) == set(range(1, 10)), "three epochs of three steps"
    for last in range(1, len(saved) + 1):
        left = last

        def save_and_die(*given):
            nonlocal left
            save(*given)
            left -= 1
            if not left:
                raise Died

        folder = tmp_path / f"died-{last}"
        prepared(folder, config, customers=200)
        monkeypatch.setattr(checkpoint, "save", save_and_die)
        with pytest.raises(Died):
            fitted(folder, job)
        monkeypatch.setattr(checkpoint, "save", save)
        assert fitted(folder, job)["history"] == expected["history"], last
        assert same(weights(folder), weights(tmp_path / "whole")), last


def terminate(process: subprocess.Popen) -> None:
    process.terminate()


def interrupt(process: subprocess.Popen) -> None:
    """Ctrl-C, as a terminal sends it: to all processes of the group."""
    os.killpg(process.pid, signal.SIGINT)


def interrupt_alone(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("processes", "stop"), [(1, terminate), (1, interrupt), (2, terminate), (2, interrupt), (2, interrupt_alone)]
)
def test_told_to_stop_it_leaves_a_checkpoint_and_a_code_of_its_own(tmp_path, processes, stop):
    config = preset("paper", **SMALL, epochs=30, batch_size=64)
    for name in ("whole", "stopped"):
        prepared(tmp_path / name, config, customers=260, minutes=60.0)
    finish(tmp_path / "whole", processes)
    process = begin(tmp_path / "stopped", processes)
    wait_for(tmp_path / "stopped", process, 5)  # the end of the first epoch
    time.sleep(0.05)
    stop(process)
    said = process.communicate()[1]
    assert process.returncode == 75, said
    assert "told to stop at step" in said and "the same command goes on" in said and "Traceback" not in said
    assert 5 <= steps_done(tmp_path / "stopped") < 150
    finish(tmp_path / "stopped", processes)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


@pytest.mark.parametrize("patience", [None, 2])
def test_told_to_stop_at_its_end_it_leaves_and_going_on_is_to_finish_without_a_step(tmp_path, monkeypatch, patience):
    fast = {"learning_rate": 0.05, "dropout": 0.0}  # soon worse
    config = preset("default", **SMALL, **fast, epochs=3 if patience is None else 30, batch_size=64, patience=patience)
    job = prepared(tmp_path / "whole", config, minutes=60.0, customers=200)
    judge, judged = trainer.validate, []
    monkeypatch.setattr(trainer, "validate", lambda *given: (judged.append(1), judge(*given))[1])
    expected = fitted(tmp_path / "whole", job)
    assert patience is None or len(expected["history"]) < 30
    last, judged[:] = len(judged), []

    def signalled(*given):
        judged.append(1)
        if len(judged) == last:
            signal.raise_signal(signal.SIGTERM)
        return judge(*given)

    prepared(tmp_path / "stopped", config, customers=200)
    monkeypatch.setattr(trainer, "validate", signalled)
    with pytest.raises(Stopped, match=f"told to stop at step {expected['steps']} of .* the same command goes on"):
        fitted(tmp_path / "stopped", job)
    assert steps_done(tmp_path / "stopped") == expected["steps"]
    assert not (tmp_path / "stopped" / "metrics.json").exists()
    monkeypatch.setattr(Learner, "step", None)
    finished = fitted(tmp_path / "stopped", job)
    assert finished["history"] == expected["history"] and finished["validation"] == expected["validation"]
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))


def test_a_second_ctrl_c_ends_it_at_once(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "program.py").write_text(STUCK)
    process = begin(folder, 2)
    while len(waiting := list(folder.glob("waiting.*"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    interrupt(process)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    interrupt(process)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and said == "caspr_train: interrupted\n"
    for file in waiting:
        assert not Path("/proc", file.suffix[1:]).exists()


def fitted(folder: Path, job: Job) -> dict:
    launch(train, Processes(0, 1), folder, folder, job)
    return json.loads((folder / "metrics.json").read_text())


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "file"),
    [(damage, file) for damage in (cut_short, changed, emptied) for file in ("tensors", "description")]
    + [(Path.unlink, "tensors")],
)
def test_a_damaged_checkpoint_is_said_and_the_one_before_it_serves(tmp_path, capfd, damage, file):
    config = preset("paper", **SMALL, epochs=4, batch_size=64)
    run = tmp_path / "run"
    job = prepared(run / "training", config, customers=200)
    fitted(run / "training", job)
    expected = weights(run / "training")
    kept = checkpoint.found(run / "training" / "checkpoints")
    assert len(kept) == 2 and kept[0].step > kept[1].step
    damage(getattr(kept[0], file))
    expect_interrupted(run, job.identity)
    capfd.readouterr()
    assert fitted(run / "training", job)["resumed"] == 1
    said = capfd.readouterr().err
    assert f"{kept[0].tensors.with_suffix('')} is damaged" in said
    assert f"; going on from that of step {kept[1].step}\n" in said
    assert same(weights(run / "training"), expected)


def test_where_every_checkpoint_is_damaged_it_begins_anew_and_says_so(tmp_path, capfd):
    run = tmp_path / "run"
    job = prepared(run / "training", preset("paper", **SMALL, epochs=2, batch_size=64), customers=200)
    fitted(run / "training", job)
    expected = weights(run / "training")
    one, two = checkpoint.found(run / "training" / "checkpoints")
    cut_short(one.description), cut_short(two.tensors)
    with pytest.raises(DataError, match=rf"--resume {run}: no whole checkpoint in .*{one.tensors.stem} is damaged"):
        expect_interrupted(run, job.identity)
    capfd.readouterr()
    assert fitted(run / "training", job)["resumed"] == 0
    assert capfd.readouterr().err.splitlines()[0].endswith("; beginning anew")
    assert same(weights(run / "training"), expected)


def test_a_checkpoint_stays_that_is_written_behind_damaged_ones_of_later_steps(tmp_path):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())

    def save(step):
        checkpoint.save(tmp_path, {}, checkpoint.Progressed(step), model, optimizer, None)

    save(100), save(120)
    for here in checkpoint.found(tmp_path):
        cut_short(here.tensors)
    save(20), save(40), save(60)
    assert [here.step for here in checkpoint.found(tmp_path)] == [60, 40]
    assert checkpoint.read(tmp_path)[0].progressed.step == 60


def test_a_checkpoint_of_another_training_is_refused_by_the_keys_that_differ(tmp_path):
    job = prepared(tmp_path / "run", preset("paper", **SMALL, epochs=1), customers=100)
    fitted(tmp_path / "run", job)
    other = replace(job, identity={**job.identity, "data": "other data", "learning_rate": 0.5})
    with pytest.raises(DataError, match=r'data is "made up" there and "other data" here; learning_rate is 0.001 there'):
        fitted(tmp_path / "run", other)
    assert fitted(tmp_path / "run", replace(other, resume=False))["resumed"] == 0


def test_a_full_disk_is_one_line_and_the_last_good_checkpoint_is_intact(tmp_path):
    mounted = tmp_path / "small"
    mounted.mkdir()
    # A real file system that is really full; root alone may mount one.
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mounted)], capture_output=True).returncode:
        pytest.skip("needs root, to mount a small file system")
    try:
        job = prepared(tmp_path / "run", preset("paper", **SMALL, epochs=3, batch_size=64), customers=200)
        (tmp_path / "run" / "checkpoints").symlink_to(mounted)
        fitted(tmp_path / "run", replace(job, config=replace(job.config, epochs=1)))
        before = checkpoint.found(mounted)
        (mounted / "filler").write_bytes(b"0" * (os.statvfs(mounted).f_bavail * os.statvfs(mounted).f_bsize - 4096))
        with pytest.raises(
            DataError, match=r"no checkpoint could be written to .* the disk is full.*step \d+ is intact"
        ):
            fitted(tmp_path / "run", job)
        assert [found.step for found in checkpoint.found(mounted)] == [found.step for found in before]
        assert checkpoint.newest(mounted, job.identity) is not None
        assert not list(mounted.glob(".*"))
        (mounted / "filler").unlink()
        assert fitted(tmp_path / "run", job)["resumed"] == 1
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_loss_that_is_no_number_stops_and_keeps_the_batch(tmp_path):
    job = prepared(
        tmp_path / "run", preset("paper", **SMALL, epochs=3, batch_size=64, learning_rate=1e30), customers=200
    )
    with pytest.raises(DataError, match=r"the loss became nan at step \d+.*--learning-rate, now 1e\+30"):
        fitted(tmp_path / "run", job)
    (kept,) = (tmp_path / "run").glob("not-finite-step-*-process-0.safetensors")
    batch = safetensors.torch.load_file(kept)
    step = int(kept.name.split("-")[3])
    assert step >= 1 and len(batch["sequences"]) == len(batch["0.valid"]) and batch["0.hide"].any()
    assert steps_done(tmp_path / "run") <= step


def test_of_the_steps_between_two_looks_the_first_whose_loss_is_no_number_is_kept(tmp_path, monkeypatch):
    job = prepared(tmp_path / "run", preset("paper", **SMALL, epochs=1, batch_size=16), customers=200)
    monkeypatch.setitem(trainer.STEPS_BETWEEN_LOOKS, "cpu", 20)
    step = Learner.step

    def poisoned(learner: Learner, number: int, *given) -> torch.Tensor:
        loss = step(learner, number, *given)
        return loss * torch.nan if number >= 3 else loss  # as weights that are no numbers any more would have it

    monkeypatch.setattr(Learner, "step", poisoned)
    with pytest.raises(DataError, match="the loss became nan at step 3;"):
        fitted(tmp_path / "run", job)
    (kept,) = (tmp_path / "run").glob("not-finite-step-*")
    fit = torch.nonzero(load_split(tmp_path / "run" / "packed")[0])[:, 0]
    order = fit[torch.randperm(len(fit), generator=draws(job.config, 0, ORDER))]
    assert torch.equal(safetensors.torch.load_file(kept)["sequences"], order[3 * 16 : 4 * 16])


def test_it_ends_where_held_out_customers_gain_nothing_more_with_the_best_weights(tmp_path):
    # Independent noise, many weights, few customers: the fit soon learns them by heart.
    config = preset(
        "paper", **{**SMALL, "hidden": 32}, epochs=200, batch_size=32, dropout=0.0, learning_rate=1e-2, patience=3
    )
    job = prepared(tmp_path / "run", replace(config, validation_share=0.4), minutes=60.0, customers=60)
    metrics = fitted(tmp_path / "run", job)
    seen = [entry["validation_loss"] for entry in metrics["history"] if entry["validation_loss"] is not None]
    assert len(metrics["history"]) < 200 and metrics["best_step"] < metrics["steps"]
    assert seen.index(min(seen)) == len(seen) - 1 - 3
    assert metrics["validation_loss"] == min(seen) == metrics["validation"]["loss"]


def test_the_log_tells_the_story_and_what_was_learnt_of_each_attribute(tmp_path):
    config = preset("default", **SMALL, epochs=2, validation_share=0.4, masked_weight=1.0)
    job = prepared(tmp_path / "run", config, customers=1500, minutes=60.0)
    metrics = fitted(tmp_path / "run", job)
    lines = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["begin", "epoch", "epoch", "end"]
    assert lines[-1]["train_loss"] == lines[-2]["train_loss"] == metrics["train_loss"]
    masked, baseline = metrics["validation"]["masked"], metrics["validation"]["masked_baseline"]
    # activity_type is drawn with shares .5, .3, .2: its entropy is 1.03 nats.
    assert len(masked) == len(baseline) == 4 and baseline[0] == pytest.approx(1.03, abs=0.05)

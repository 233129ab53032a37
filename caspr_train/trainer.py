"""Training: one loop, read from top to bottom."""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from caspr_train.config import Config
from caspr_train.distributed import add_over_processes
from caspr_train.errors import DataError
from caspr_train.model import Caspr, Shape
from caspr_train.objective import LOOKS_AHEAD, Denominators, count_targets, draw_mask, weighted
from caspr_train.progress import Progress
from caspr_train.sequences import PackedSequences, Windows, load_held_out

# A step's share of a process is worked through in pieces: on a CPU they fit the cache, on a GPU they fit the memory.
PIECE = {"cpu": 256, "cuda": 16_384}


@dataclass(frozen=True)
class Job:
    """What every process needs to know beside the packed sequences."""

    config: Config
    shape: Shape
    days_scaler: tuple[float, float]
    horizon_seconds: int  # 0 when no objective looks past the window

    def windows(self, sequences: PackedSequences) -> Windows:
        return Windows(sequences, self.config.sequence_length, self.days_scaler, self.horizon_seconds)


def learning_rate(step: int, steps: int, config: Config) -> float:
    """The rate of step 0 <= step < steps: constant, or a linear warm-up over a twentieth and half a cosine to zero."""
    if config.schedule == "constant":
        return config.learning_rate
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def draws(config: Config, epoch: int, purpose: int) -> torch.Generator:
    """A generator that depends on (seed, epoch, purpose) and on nothing else, such as the number of processes."""
    return torch.Generator().manual_seed((config.seed * 1_000_003 + epoch) * 101 + purpose)


ORDER, INSTANTS, MASKS, VALIDATION = range(4)


def train(rank: int, count: int, device: torch.device, folder: Path, job: Job) -> Caspr:
    """Fit on the packed folder `folder`/packed; rank 0 writes weights.safetensors and metrics.json there."""
    config = job.config
    held_out = load_held_out(folder / "packed")
    windows = job.windows(PackedSequences.load(folder / "packed").to(device))
    fit, validation = torch.nonzero(~held_out)[:, 0], torch.nonzero(held_out)[:, 0]
    if not len(fit):
        raise DataError("no customer is left to fit on after the validation split; expected at least two customers")

    torch.manual_seed(config.seed)  # the same weights on every process, before dropout goes its own way
    model = Caspr(config, job.shape).to(device)
    if config.future_window_weight:
        sample = fit[:: max(1, len(fit) // 20_000)].to(device)
        future = windows.cut(sample, windows.random_instants(draws(config, 0, VALIDATION))[sample]).future
        assert future is not None, LOOKS_AHEAD
        model.set_future_scale(future)
    torch.manual_seed(config.seed + 1 + rank)
    learner = DistributedDataParallel(model) if count > 1 else model
    optimizer = _optimizer(model, config)

    epochs, steps_per_epoch = config.epochs_for(len(fit)), config.steps_per_epoch(len(fit))
    steps, step = epochs * steps_per_epoch, 0
    progress = Progress(steps_per_epoch, epochs, quiet=rank > 0)
    started, trained_seconds, trained_sequences, history = time.perf_counter(), 0.0, 0, []
    validate(model, windows, validation[:512], job)  # a broken evaluation should show in the first second

    for epoch in range(epochs):
        model.train()
        order = fit[torch.randperm(len(fit), generator=draws(config, epoch, ORDER))]
        instants = windows.random_instants(draws(config, epoch, INSTANTS)) if config.windows == "random" else None
        masks = draws(config, epoch, MASKS)
        loss_sum, epoch_started = torch.zeros((), device=device), time.perf_counter()
        for which in order.split(config.batch_size):
            share, places = _share(which, rank, count)
            hidden_events = torch.rand(len(which), config.sequence_length, generator=masks)[places]
            pieces = []
            for piece, noise in zip(
                share.to(device).split(PIECE[device.type]), hidden_events.split(PIECE[device.type]), strict=True
            ):
                batch = windows.cut(piece, None if instants is None else instants[piece])
                pieces.append((batch, draw_mask(batch.valid, config.mask_share, noise.to(device))))
            # The loss is a mean over the targets of the whole step, so every process needs the count of all.
            counts = torch.stack([count_targets(*piece).flat() for piece in pieces]).sum(0)
            denominators = Denominators.from_flat(add_over_processes(counts))

            rate = learning_rate(step, steps, config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            for last, (batch, hide) in enumerate(pieces, 1 - len(pieces)):
                # DDP averages over processes and the step's loss is a sum of the shares: hence times count.
                with _no_sync(learner, wait=last < 0):
                    loss, _ = learner(batch, hide, denominators)
                    (loss * count).backward()
                loss_sum += loss.detach()
            nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
            optimizer.step()
            step += 1
            trained_sequences += len(which)
            # This process's share of the loss, times count, stands for the whole until the epoch ends.
            done = (step - 1) % steps_per_epoch + 1
            rate = trained_sequences / (trained_seconds + time.perf_counter() - epoch_started)
            progress.step(epoch, done, loss_sum * (count / done), rate)
        epoch_loss = float(add_over_processes(loss_sum)) / steps_per_epoch
        if not math.isfinite(epoch_loss):
            raise DataError(f"the loss became {epoch_loss} in epoch {epoch + 1}; lower the learning rate")
        trained_seconds += time.perf_counter() - epoch_started
        # Every tenth epoch and the last: validation is for the reader, nothing is decided by it.
        seen = validate(model, windows, validation, job) if epoch % 10 == 9 or epoch == epochs - 1 else None
        validation_loss = seen["loss"] if seen else None
        history.append({"epoch": epoch + 1, "train_loss": epoch_loss, "validation_loss": validation_loss})
        progress.epoch(epoch, epoch_loss, validation_loss, trained_sequences / trained_seconds)
    progress.close()

    if rank == 0:
        metrics = {
            "epochs": epochs,
            "steps": steps,
            "fitted_sequences": len(fit),
            "held_out_sequences": len(validation),
            "parameters": sum(p.numel() for p in model.parameters()),
            "train_loss": history[-1]["train_loss"],
            "validation_loss": history[-1]["validation_loss"],
            "validation": seen,
            "sequences_per_second": trained_sequences / trained_seconds,
            "seconds": time.perf_counter() - started,
            "history": history,
        }
        safetensors.torch.save_file(
            {k: v.contiguous().cpu() for k, v in model.state_dict().items()}, folder / "weights.safetensors"
        )
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return model


@torch.no_grad()
def validate(model: Caspr, windows: Windows, which: torch.Tensor, job: Job) -> dict[str, Any] | None:
    """Loss on sequences that were not fitted, with masks and instants that are the same every time; None without any.

    Every process does the whole of it: it is small, and no process has to wait with nothing to say. Parts are means
    over the valid targets: `masked` and `next` by attribute (categorical first), `future` by FUTURE_TARGETS.
    """
    config = job.config
    if not len(which):
        return None
    was_training = model.training
    model.eval()
    instants = windows.random_instants(draws(config, 0, VALIDATION)) if config.windows == "random" else None
    masks = draws(config, 1, VALIDATION)
    sums = counts = torch.zeros(())
    for piece in which.to(windows.sequences.offsets.device).split(PIECE[windows.sequences.offsets.device.type]):
        batch = windows.cut(piece, None if instants is None else instants[piece])
        noise = torch.rand(len(piece), config.sequence_length, generator=masks).to(piece.device)
        hide = draw_mask(batch.valid, config.mask_share, noise)
        here = count_targets(batch, hide)
        _, parts = model(batch, hide, here)
        sums, counts = sums + parts.flat().double(), counts + here.flat()
    model.train(was_training)
    parts, known = Denominators.from_flat(sums), Denominators.from_flat(counts)
    means = Denominators.from_flat(sums / counts.clamp(min=1))
    return {
        "loss": float(weighted(parts, known, config)),
        "masked": means.masked.tolist(),
        "next": means.next.tolist() if model.next_event is not None else None,
        "future": means.future.tolist() if model.future_head is not None else None,
    }


def _share(which: torch.Tensor, rank: int, count: int) -> tuple[torch.Tensor, slice]:
    """This process's part of a step's sequences, and where it lies: contiguous parts that differ by one at most.

    A step of fewer sequences than processes leaves some with none; they still take part with the first sequence,
    because every process must join every all-reduce. That step then weighs that one sequence more.
    """
    if len(which) < count:
        return (which[:1], slice(0, 1)) if rank >= len(which) else (which[rank : rank + 1], slice(rank, rank + 1))
    bounds = [len(which) * r // count for r in (rank, rank + 1)]
    return which[slice(*bounds)], slice(*bounds)


def _no_sync(learner: nn.Module, wait: bool) -> contextlib.AbstractContextManager[None]:
    """Gradients of all but the last piece of a step stay on their process."""
    return learner.no_sync() if wait and isinstance(learner, DistributedDataParallel) else contextlib.nullcontext()


def _optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)

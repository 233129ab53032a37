"""Training: one loop, read from top to bottom."""

from __future__ import annotations

import json
import math
import time
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from caspr_train import checkpoint
from caspr_train.checkpoint import Progressed
from caspr_train.distributed import add_over_processes, from_first, take_from_first, wait_for_all
from caspr_train.errors import DataError
from caspr_train.learner import CUT, INSTANTS, ORDER, PIECE, VALIDATION, Job, Learner, cut_up, draws, learning_rate
from caspr_train.log import TrainingLog
from caspr_train.model import Caspr, Shape
from caspr_train.objective import LOOKS_AHEAD, Denominators, count_targets, draw_mask, weighted
from caspr_train.progress import Progress
from caspr_train.sequences import PAD, PackedSequences, Windows, batches, load_split
from caspr_train.stopping import Stop, Stopped, remembered

__all__ = ["Job", "Learner", "learning_rate", "train", "validate"]

# How many steps go by before losses and signals are looked at: to look is to wait for the device.
STEPS_BETWEEN_LOOKS = {"cpu": 1, "cuda": 20}
VALIDATIONS = 20  # about so many in a training, at the ends of epochs
MOST_VALIDATED = 20_000  # sequences


def train(rank: int, count: int, device: torch.device, folder: Path, job: Job) -> Caspr:
    """Fit on the packed folder `folder`/packed; rank 0 writes weights.safetensors and metrics.json there.

    Checkpoints lie in `folder`/checkpoints; with `job.resume` the training goes on from the newest. Every step is a
    function of (seed, step) and of what the step before left: it goes on to the same weights, bit for bit on a CPU.
    Stopped: a signal came; DataError: the loss is no number any more, or a checkpoint cannot be written.
    """
    import safetensors.torch

    config = job.config
    fitted, held_out = load_split(folder / "packed")
    windows = job.windows(PackedSequences.load(folder / "packed").placed(device))
    fit, validation = torch.nonzero(fitted)[:, 0], torch.nonzero(held_out)[:, 0]
    if not len(fit):
        raise DataError("no customer is left to fit on after the validation split; expected at least two customers")
    validation = validation[:: math.ceil(max(1, len(validation)) / MOST_VALIDATED)]

    learner = Learner(job, windows, device, rank, count)
    model = learner.model
    if config.future_window_weight:
        sample = fit[:: max(1, len(fit) // 20_000)].to(windows.sequences.device)
        seen = windows.cut(sample, windows.random_instants(draws(config, 0, VALIDATION))[sample])
        assert seen.future is not None and seen.content is not None, LOOKS_AHEAD
        model.set_future_scale(seen.future, seen.content)
        take_from_first(model.buffers())  # hosts may round differently
    epochs, steps_per_epoch = config.epochs_for(len(fit)), config.steps_per_epoch(len(fit))
    steps, epochs_between_validations = epochs * steps_per_epoch, max(1, epochs // VALIDATIONS)
    looks = STEPS_BETWEEN_LOOKS[device.type]

    progressed, best = _resume(folder, job, learner)
    log = TrainingLog(folder) if rank == 0 else None
    if log:
        log.write("begin", progressed.step, steps=steps, epochs=epochs, processes=count, resumed=progressed.resumed)
    seen_values: list[Tensor] = []
    if rank == 0:
        seen_values = windows.sequences.count_values(fitted, job.shape.sequence_cardinalities)
        # A broken evaluation should show in the first second.
        validate(model, windows, validation[:512], job, seen_values)
    progress = Progress(steps_per_epoch, epochs, progressed.step, quiet=rank > 0)
    saved_at = time.monotonic()

    def save() -> None:
        nonlocal saved_at
        if rank == 0 and job.identity:
            checkpoint.save(folder / "checkpoints", job.identity, progressed, model, learner.optimizer, best)
            saved_at = time.monotonic()

    with remembered() as stop:
        for epoch in range(progressed.step // steps_per_epoch, epochs):
            if config.patience is not None and progressed.worse >= config.patience:
                break
            model.train()
            order = fit[torch.randperm(len(fit), generator=draws(config, epoch, ORDER))].to(windows.sequences.device)
            instants = windows.random_instants(draws(config, epoch, INSTANTS)) if config.windows == "random" else None
            # All but what was done before the training was interrupted.
            first = progressed.step - epoch * steps_per_epoch
            parts = order.split(config.batch_size)[first:]
            stream = batches(windows, chain.from_iterable(learner.cuts(part, instants) for part in parts), device)
            begun, recent = time.perf_counter(), []
            for number, which in enumerate(parts, first):
                recent.append(learner.step(progressed.step, steps, which, instants, stream))
                progressed.step += 1
                progressed.sequences += len(which)
                if len(recent) < looks and number + 1 < steps_per_epoch:
                    continue
                losses, told = _look(recent, stop, device)
                progressed.seconds, begun = progressed.seconds + time.perf_counter() - begun, time.perf_counter()
                # The oldest first: a loss that is no number leaves none behind it, whatever the batch.
                for back, loss in zip(range(len(losses), 0, -1), losses, strict=True):
                    if not math.isfinite(loss):
                        at, part = progressed.step - back, parts[number - first + 1 - back]
                        _not_finite(folder, learner, at, part, instants, loss, recent[-back])
                progressed.loss_sum += sum(losses)
                recent = []
                mean = progressed.loss_sum / (number + 1)
                progress.step(epoch, number + 1, mean, progressed.sequences / progressed.seconds)
                if number + 1 == steps_per_epoch:
                    break  # what ends an epoch belongs to it: a checkpoint before it would go on without it
                if told or time.monotonic() - saved_at >= 60 * job.checkpoint_minutes:
                    save()
                    if log:
                        log.write("checkpoint", progressed.step, train_loss=mean)
                if told:
                    _leave(progressed, steps, device)
            train_loss = progressed.loss_sum / steps_per_epoch
            entry: dict[str, Any] = {"epoch": epoch + 1, "train_loss": train_loss, "validation_loss": None}
            if len(validation) and ((epoch + 1) % epochs_between_validations == 0 or epoch + 1 == epochs):
                # One judge: on hosts that round differently the processes might not agree when to end.
                judged = None
                if rank == 0:
                    judged = json.dumps(validate(model, windows, validation, job, seen_values)).encode()
                seen = json.loads(from_first(judged, device))
                entry["validation_loss"] = seen["loss"]
                if config.patience is None or progressed.best_loss is None or seen["loss"] < progressed.best_loss:
                    progressed.validation = seen  # of the weights that will be kept
                if progressed.best_loss is None or seen["loss"] < progressed.best_loss:
                    progressed.best_loss, progressed.best_step = seen["loss"], progressed.step
                    progressed.worse = 0
                    if config.patience is not None:
                        best = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
                else:
                    progressed.worse += 1
            progressed.history.append(entry)
            progressed.loss_sum = 0.0
            rate = progressed.sequences / progressed.seconds
            progress.epoch(epoch, train_loss, entry["validation_loss"], rate)
            if log:
                last_rate = learning_rate(progressed.step - 1, steps, config)
                log.write("epoch", progressed.step, **entry, sequences_per_second=rate, learning_rate=last_rate)
            save()
            # After the last epoch too, for embedding and loading come next; and it may have come since the last look.
            if _look([], stop, device)[1]:
                _leave(progressed, steps, device)
    progress.close()
    if best:
        model.load_state_dict(best)
    if config.named_columns:
        which = fit[:: math.ceil(len(fit) / MOST_VALIDATED)].to(windows.sequences.device)
        model.turn_to_axes(
            torch.cat([_latent(model, windows, part, device) for part in which.split(PIECE[device.type])])
        )

    if rank == 0:
        metrics = {
            "epochs": len(progressed.history),
            "steps": progressed.step,
            "best_step": progressed.best_step,
            "resumed": progressed.resumed,
            "fitted_sequences": len(fit),
            "held_out_sequences": int(held_out.sum()),
            "parameters": sum(p.numel() for p in model.parameters()),
            "train_loss": progressed.history[-1]["train_loss"],
            "validation_loss": progressed.validation and progressed.validation["loss"],
            "validation": progressed.validation,
            "sequences_per_second": progressed.sequences / progressed.seconds,
            "seconds": progressed.seconds,
            "history": progressed.history,
        }
        safetensors.torch.save_file(
            {k: v.contiguous().cpu() for k, v in model.state_dict().items()}, folder / "weights.safetensors"
        )
        (folder / "metrics.json").write_text(json.dumps(metrics))
        if log:
            log.write("end", progressed.step, **{k: v for k, v in metrics.items() if not isinstance(v, list | dict)})
            log.close()
    return model


@torch.no_grad()
def validate(
    model: Caspr, windows: Windows, which: Tensor, job: Job, seen_values: list[Tensor]
) -> dict[str, Any] | None:
    """Loss on sequences that were not fitted, with masks and instants that are the same every time; None without any.

    Parts are means over the valid targets: `masked` and `next` by attribute (categorical first), `future` by horizon
    and FUTURE_TARGETS, `contrast` one number; None where the objective is off. `masked_baseline` and `next_baseline`
    are what knowing nothing but frequencies gives of the same targets: of a categorical attribute the cross-entropy
    under how often the fitted customers have each value (`seen_values`, as PackedSequences.count_values gives it), of
    a numerical one the variance. What was learnt is the difference.
    """
    config = job.config
    if not len(which):
        return None
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    instants = windows.random_instants(draws(config, 0, VALIDATION)) if config.windows == "random" else None
    masks = draws(config, 1, VALIDATION)
    sums = counts = torch.zeros(())
    masked, following = _Values(job.shape), _Values(job.shape)
    parts = which.to(windows.sequences.device).split(CUT)
    cut = batches(windows, ((p, None if instants is None else instants[p]) for p in parts), device)
    drawn = ((batch, torch.rand(batch.valid.shape, generator=masks).to(device)) for batch in cut)
    pieces = chain.from_iterable(cut_up(b, draw_mask(b.valid, config.mask_share, noise)) for b, noise in drawn)
    for batch, hide in pieces:
        here = count_targets(batch, hide)
        _, losses = model(batch, hide, here)
        sums, counts = sums + losses.flat().double(), counts + here.flat()
        if config.masked_weight:
            masked.add(batch.categories[hide], batch.numbers[hide])
        if model.next_event is not None:
            assert batch.next_categories is not None and batch.next_numbers is not None, LOOKS_AHEAD
            following.add(batch.next_categories, batch.next_numbers)
    model.train(was_training)
    per_event = model.per_event
    totals, targets = Denominators.from_flat(sums, per_event), Denominators.from_flat(counts, per_event)
    means = Denominators.from_flat(sums / counts.clamp(min=1), per_event)
    return {
        "loss": float(weighted(totals, targets, config)),
        "masked": means.masked.tolist() if config.masked_weight else None,
        "masked_baseline": masked.baseline(seen_values) if config.masked_weight else None,
        "next": means.next.tolist() if model.next_event is not None else None,
        "next_baseline": following.baseline(seen_values) if model.next_event is not None else None,
        "future": means.future.tolist() if model.future_head is not None else None,
        "contrast": means.contrast.item() if config.contrast_weight else None,
    }


class _Values:
    """The targets of an objective: how often each value of a category comes, and count, sum and squares of numbers."""

    def __init__(self, shape: Shape) -> None:
        self.frequencies = [torch.zeros(n, dtype=torch.float64) for n in shape.sequence_cardinalities]
        self.moments = torch.zeros(3, shape.sequence_numbers, dtype=torch.float64)

    def add(self, categories: Tensor, numbers: Tensor) -> None:
        """Of m events: [m, categorical] with PAD and [m, numerical] with NaN where there is no target."""
        for frequency, codes in zip(self.frequencies, categories.unbind(1), strict=True):
            frequency += torch.bincount(codes, minlength=len(frequency)).cpu()
        known, numbers = ~numbers.isnan(), numbers.double().nan_to_num()
        self.moments += torch.stack([known.sum(0).double(), numbers.sum(0), numbers.square().sum(0)]).cpu()

    def baseline(self, seen: list[Tensor]) -> list[float]:
        """The loss of each attribute, categorical first, for whoever knows only how often each value was `seen`."""
        count, total, squares = self.moments
        count = count.clamp(min=1)
        variances = (squares / count - (total / count).square()).clamp(min=0)
        return list(map(_cross_entropy, self.frequencies, seen)) + variances.tolist()


@torch.no_grad()
def _latent(model: Caspr, windows: Windows, which: Tensor, device: torch.device) -> Tensor:
    """ν_E [b, embedding_width] of the sequences `which` [b] at their cutoff."""
    was_training = model.training
    model.eval()
    (batch,) = batches(windows, [(which, None)], device)
    latent = model.latent(batch)
    model.train(was_training)
    return latent


def _cross_entropy(frequencies: Tensor, seen: Tensor) -> float:
    """In nats, of values that come `frequencies` [n] times and were `seen` [n] times before; each code but PAD is
    taken to have been seen once more (Laplace), so that a value that never was costs something finite.

    Not the entropy of the frequencies themselves: of thousands of values most come once or not at all among the
    held-out ones, and a distribution that was fitted on the very values it is judged by looks better than any can be.
    """
    shares = (seen[PAD + 1 :].double() + 1).cpu()
    shares /= shares.sum()
    frequencies = frequencies[PAD + 1 :]
    return float(-(frequencies * shares.log()).sum() / frequencies.sum().clamp(min=1))


def _resume(folder: Path, job: Job, learner: Learner) -> tuple[Progressed, dict[str, Tensor]]:
    """How far the training has come and the best weights so far; rank 0 reads, and all processes begin there."""
    read = None
    if learner.rank == 0 and job.resume and job.identity:
        read = checkpoint.newest(folder / "checkpoints", job.identity)
    data = from_first(checkpoint.to_bytes(read) if learner.rank == 0 else None, learner.device)
    if not data:
        return Progressed(), {}
    progressed, tensors = checkpoint.from_bytes(data)
    best = checkpoint.restore(progressed, tensors, learner.model, learner.optimizer)
    return progressed, best


def _look(recent: list[Tensor], stop: Stop, device: torch.device) -> tuple[list[float], bool]:
    """The losses of these steps over all processes, and whether any process was told to stop."""
    told = torch.tensor(float(stop.told is not None), device=device)
    seen = add_over_processes(torch.stack([*recent, told])).tolist()
    return seen[:-1], seen[-1] > 0


def _leave(progressed: Progressed, steps: int, device: torch.device) -> NoReturn:
    """Stop, once the checkpoint is there."""
    wait_for_all(device)  # nobody leaves before it is
    raise Stopped(
        f"told to stop at step {progressed.step:,} of {steps:,}; the checkpoint is kept: the same command goes on "
        "from there"
    )


def _not_finite(
    folder: Path, learner: Learner, step: int, which: Tensor, instants: Tensor | None, loss: float, share: Tensor
) -> None:
    """Keep this process's part of the step whose loss is no number, if the fault lies in it, and stop."""
    path = folder / f"not-finite-step-{step}-process-{learner.rank}.safetensors"
    if not math.isfinite(float(share)):
        pieces = learner.pieces(step, which, instants)
        kept = {f"{i}.{key}": value for i, (batch, _) in enumerate(pieces) for key, value in vars(batch).items()}
        kept |= {f"{i}.hide": hide for i, (_, hide) in enumerate(pieces)}
        checkpoint.save_batch(path, kept | {"sequences": which})
    wait_for_all(learner.device)  # everybody's file is there before anybody leaves
    raise DataError(
        f"the loss became {loss} at step {step:,}; the batch is kept in {path.parent}/not-finite-step-{step}-*, and "
        "the checkpoint before it is intact. Amounts beyond reason in the data, or too high a learning rate "
        f"(--learning-rate, now {learner.config.learning_rate})"
    )

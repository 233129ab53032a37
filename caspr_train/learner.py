"""One step of training, spread over processes: a function of weights, optimiser state and the step's number."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from caspr_train.config import Config
from caspr_train.distributed import add_over_processes
from caspr_train.model import Caspr, Shape
from caspr_train.objective import Denominators, count_targets, draw_mask
from caspr_train.sequences import Batch, Cut, PackedSequences, Windows, batches, counted

# A step's share of a process is worked through in pieces: on a CPU they fit the cache, on a GPU they fit the memory.
PIECE = {"cpu": 256, "cuda": 16_384}
# On a CPU windows of one length go together, and a piece is cut in two where that saves more padded places than this:
# about what the operators of one more piece cost. (On a GPU to ask for a length is to wait for the device.)
WORTH_A_PIECE = 512
CUT = 16_384  # windows are cut out of the sequences so many at once: that costs less by the dozen

# What random numbers are for; each purpose has a stream of its own.
ORDER, INSTANTS, MASKS, VALIDATION, DROPOUT, NEGATIVES = range(6)


@dataclass(frozen=True)
class Job:
    """What every process needs to know beside the packed sequences."""

    config: Config
    shape: Shape
    days_scaler: tuple[float, float]
    horizon_seconds: int  # 0 when no objective looks past the window
    # Whose checkpoints these are: the data, the config and the code, by name; empty: none are written.
    identity: dict[str, Any] = field(default_factory=dict)
    resume: bool = True  # go on from the newest checkpoint, if there is one
    checkpoint_minutes: float = 10.0  # beside the one at the end of every epoch

    def windows(self, sequences: PackedSequences) -> Windows:
        values = counted(self.shape.sequence_cardinalities)
        return Windows(sequences, self.config.sequence_length, self.days_scaler, self.horizon_seconds, values)


def draws(config: Config, number: int, purpose: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that depends on (seed, number of the epoch or step, purpose) and on nothing else, such as the number
    of processes or what was drawn before: any step can be begun from a checkpoint."""
    return torch.Generator(device).manual_seed((config.seed * 1_000_003 + number) * 101 + purpose)


def learning_rate(step: int, steps: int, config: Config) -> float:
    """The rate of step 0 <= step < steps: constant, or a linear warm-up over a twentieth and half a cosine to zero."""
    if config.schedule == "constant":
        return config.learning_rate
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return config.learning_rate * (step + 1) / warm_up
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


class Learner:
    """A model, its optimiser and this process's place among `count`.

    On a GPU the forward pass runs in bf16 unless `config.gpu_precision` says fp32 (weights, softmax, normalisation and
    losses are fp32 in both), and a step never waits for the device.
    """

    def __init__(self, job: Job, windows: Windows, device: torch.device, rank: int = 0, count: int = 1) -> None:
        self.config, self.windows, self.device, self.rank, self.count = job.config, windows, device, rank, count
        self.bf16 = device.type == "cuda" and self.config.gpu_precision == "bf16"
        torch.manual_seed(self.config.seed)  # the same weights on every process
        self.model = Caspr(self.config, job.shape).to(device)
        self.ddp = wrapped(self.model, count)
        kind = torch.optim.Adam if self.config.optimizer == "adam" else torch.optim.AdamW
        self.optimizer = kind(
            self.model.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay, fused=True
        )

    def step(
        self,
        step: int,
        steps: int,
        which: Tensor,
        instants: Tensor | None = None,
        stream: Iterator[Batch] | None = None,
    ) -> Tensor:
        """Learn from the sequences `which` [batch] of all processes together, step number `step` of `steps`.

        `instants` [n] as Windows.random_instants gives them, None for the latest windows. `stream` gives the batches of
        `cuts` if they were cut ahead. Returns this process's share of the loss of the step, a scalar on the device: the
        shares add up to the loss.
        """
        self._seed_dropout(step)
        pieces = self.pieces(step, which, instants, stream)
        # The loss is a mean over the targets of the whole step, so every process needs the count of all.
        counts = torch.stack([count_targets(batch, hide).flat() for batch, hide in pieces]).sum(0)
        denominators = Denominators.from_flat(add_over_processes(counts), self.model.per_event)
        negatives = self.model.draw_negatives(draws(self.config, step, NEGATIVES, self.device))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for last, (batch, hide) in enumerate(pieces, 1 - len(pieces)):
            # DDP averages over processes and the step's loss is a sum of the shares: hence times count.
            with unsynchronised(self.ddp, wait=last < 0):
                with torch.autocast("cuda", torch.bfloat16, enabled=self.bf16):
                    loss, _ = self.ddp(batch, hide, denominators, negatives)
                (loss * self.count).backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        return total

    def cuts(self, which: Tensor, instants: Tensor | None) -> list[Cut]:
        """The windows of this process's share of a step. Let `which` lie where the sequences do: to send it to a GPU
        is to wait for it."""
        share = which[places(len(which), self.rank, self.count)]
        return [(part, None if instants is None else instants[part]) for part in share.split(CUT)]

    def pieces(
        self, step: int, which: Tensor, instants: Tensor | None, stream: Iterator[Batch] | None = None
    ) -> list[tuple[Batch, Tensor]]:
        """This process's share of the step in pieces, each with its mask [b, t]."""
        # Drawn for the whole step, so that a mask depends on the step and the place in it, not on who works on it.
        generator = draws(self.config, step, MASKS, self.device)
        noise = torch.rand(len(which), self.config.sequence_length, generator=generator, device=self.device)
        parts = noise[places(len(which), self.rank, self.count)].split(CUT)  # as `cuts` does
        if stream is None:
            stream = batches(self.windows, self.cuts(which, instants), self.device)
        pieces = []
        for batch, chances in zip(islice(stream, len(parts)), parts, strict=True):
            pieces += cut_up(batch, draw_mask(batch.valid, self.config.mask_share, chances))
        return pieces

    def _seed_dropout(self, step: int) -> None:
        """Every process drops out for itself."""
        if self.device.type == "cpu":
            self.model.dropout_bits.seed(self.config.seed, step, DROPOUT, self.rank)
        else:
            torch.cuda.manual_seed((self.config.seed * 1_000_003 + step) * 1_009 + self.rank)


def wrapped(model: nn.Module, count: int) -> nn.Module:
    """The model as `count` processes train it, all with the weights and buffers of rank 0."""
    if count == 1:
        return model
    ddp = DistributedDataParallel(model)
    # Buffers are constants and need not be sent again with every step. (Not as an option: torch 2.13 warns of this one,
    # and those before it lack the one that it names.)
    ddp.broadcast_buffers = False
    return ddp


def unsynchronised(ddp: nn.Module, wait: bool) -> contextlib.AbstractContextManager[None]:
    """Gradients of all but the last piece of a step stay on their process."""
    if wait and isinstance(ddp, DistributedDataParallel):
        return ddp.no_sync()
    return contextlib.nullcontext()


def cut_up(batch: Batch, hide: Tensor) -> list[tuple[Batch, Tensor]]:
    """The windows and their masks [b, t] in pieces that are worked through one after the other."""
    device = batch.valid.device.type
    if device != "cpu":
        return list(zip(batch.split(PIECE[device]), hide.split(PIECE[device]), strict=True))
    pieces = batch.by_length(PIECE[device], WORTH_A_PIECE)
    return [(piece, hide[which, -piece.valid.shape[1] :]) for piece, which in pieces]


def places(batch: int, rank: int, count: int) -> slice:
    """Which places of a step's batch are this process's: contiguous parts that differ by one at most.

    A step of fewer sequences than processes leaves some with none; they still take part with one that another has too,
    because every process must join every all-reduce. That step then weighs that one sequence more.
    """
    if batch < count:
        at = rank if rank < batch else 0
        return slice(at, at + 1)
    return slice(batch * rank // count, batch * (rank + 1) // count)

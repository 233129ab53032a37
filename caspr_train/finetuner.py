"""Fine-tuning: a bundle's encoder and a head on top of it learn labels end to end, in one process or several (DDP)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caspr_train.bundle import Bundle
from caspr_train.distributed import wait_for_all
from caspr_train.learner import (
    DROPOUT,
    ORDER,
    PIECE,
    WORTH_A_PIECE,
    draws,
    learning_rate,
    places,
    unsynchronised,
    wrapped,
)
from caspr_train.model import Caspr
from caspr_train.model.dropout import Dropout
from caspr_train.sequences import Batch, PackedSequences, Windows

HIDDEN = 64  # of the head
DROPPED = 0.2
BATCH = 128
EPOCHS = 12
FEWEST_STEPS = 120  # with few labels there are more epochs
# The head begins with nothing, the encoder with what it has learnt.
HEAD_RATE, ENCODER_RATE = 2e-3, 2e-4
WEIGHT_DECAY = 0.05
LARGEST = 5.0  # standard deviations that a feature is cut at
SCORED = 4096  # sequences

PLAN, BUNDLE, SIDES = "plan.json", "bundle", ("fitted", "asked")


@dataclass(frozen=True)
class Fit:
    """One fine-tuning: its rows lie in `name`.npz (fit, asked: positions of rows), its scores go to `name`-scores.npy.

    label: the file label.npy holds the labels [rows].
    """

    name: str
    label: str
    is_boolean: bool
    seed: int


def write_plan(folder: Path, fits: list[Fit]) -> None:
    (folder / PLAN).write_text(json.dumps([asdict(fit) for fit in fits]))


def fine_tune(rank: int, count: int, device: torch.device, folder: Path) -> None:
    """Work through the plan in `folder`.

    Beside it lie the bundle, the packed sequences (a folder for each of SIDES), features.npy [rows, columns] float32,
    side.npy [rows] (which of SIDES) and sequence.npy [rows] (which of its sequences).
    """
    bundle = Bundle.load(folder / BUNDLE)
    config, scaler = bundle.config, bundle.encoding.days_scaler
    windows = [
        Windows(PackedSequences.load(folder / side).placed(device), config.sequence_length, scaler) for side in SIDES
    ]
    features, side, sequence = (np.load(folder / f"{name}.npy") for name in ("features", "side", "sequence"))
    for fit in (Fit(**fit) for fit in json.loads((folder / PLAN).read_text())):
        rows = np.load(folder / f"{fit.name}.npz")
        known, asked = rows["fit"], rows["asked"]
        scaled = Scaled(features[known])
        learner = Finetuner(bundle, fit, scaled.columns, device, rank, count)
        of_fit = windows[side[known[0]]]
        labels = np.load(folder / f"{fit.label}.npy")[known]
        learner.fit(of_fit, torch.from_numpy(sequence[known]), scaled(features[known]), labels)
        if rank == 0:
            found = [
                learner.score(windows[side[some[0]]], torch.from_numpy(sequence[some]), scaled(features[some]))
                for some in np.split(asked, range(SCORED, len(asked), SCORED))
            ]
            np.save(folder / f"{fit.name}-scores.npy", np.concatenate(found))
        wait_for_all(device)  # nobody goes on, or leaves, before it is there


class Scaled:
    """Features for a network: signed logarithm, standardised, cut at LARGEST; missing is 0, with a column that says so.

    Fitted on [n, columns] with NaN for missing; a column that is constant there stays 0.
    """

    def __init__(self, features: np.ndarray) -> None:
        self._has_gaps = np.isnan(features).any(axis=0)
        known = np.ma.masked_invalid(_logarithm(features))
        self._mean, self._scale = np.ma.filled(known.mean(axis=0), 0.0), np.ma.filled(known.std(axis=0), 0.0)
        self.columns = features.shape[1] + int(self._has_gaps.sum())

    def __call__(self, features: np.ndarray) -> Tensor:
        """[n, columns of the features and of their gaps] float32."""
        varies = self._scale > 1e-6
        scaled = (_logarithm(features) - self._mean) / np.where(varies, self._scale, 1.0)
        scaled = np.where(varies, np.nan_to_num(scaled), 0.0).clip(-LARGEST, LARGEST)
        gaps = np.isnan(features[:, self._has_gaps])
        return torch.from_numpy(np.hstack([scaled, gaps]).astype(np.float32))


def _logarithm(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float64)
    return np.sign(features) * np.log1p(np.abs(features))


class Head(nn.Module):
    """One score from the customer vector and the features: a linear part and a layer of HIDDEN units beside it.

    forward gives this batch's share of the loss of a step, so that under DDP the gradients are averaged.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, encoder: Caspr, columns: int, is_boolean: bool) -> None:
        super().__init__()
        self.encoder, self.is_boolean = encoder, is_boolean
        width = encoder.width
        self.linear = nn.Linear(width + columns, 1)
        self.hidden = nn.Sequential(
            nn.Linear(width + columns, HIDDEN), nn.ReLU(), Dropout(DROPPED, encoder.dropout_bits), nn.Linear(HIDDEN, 1)
        )
        # What the vector is standardised by: the rows fitted on, before anything is tuned.
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def score(self, batch: Batch, features: Tensor) -> Tensor:
        """[b]: log-odds, or the standardised number."""
        vector = (self.encoder.embed(batch) - self.mean) / self.scale
        both = torch.cat([vector, features], dim=1)
        return (self.linear(both) + self.hidden(both))[:, 0]

    def forward(self, batch: Batch, features: Tensor, labels: Tensor, total: int) -> Tensor:
        found = self.score(batch, features)
        if self.is_boolean:
            return F.binary_cross_entropy_with_logits(found, labels, reduction="sum") / total
        return (found - labels).square().sum() / total


class Finetuner:
    """A head on the bundle's encoder and its optimiser. A step is a function of the fit's seed and of its number."""

    def __init__(self, bundle: Bundle, fit: Fit, columns: int, device: torch.device, rank: int, count: int) -> None:
        self.config, self.device, self.rank, self.count = (
            replace(bundle.config, seed=fit.seed, schedule="cosine", learning_rate=1.0),
            device,
            rank,
            count,
        )
        torch.manual_seed(fit.seed)  # the same head on every process
        self.head = Head(bundle.model(), columns, fit.is_boolean).to(device)
        self.label_mean, self.label_scale = 0.0, 1.0

    def fit(self, windows: Windows, which: Tensor, features: Tensor, labels: np.ndarray) -> None:
        """which [n] sequences of the windows, features [n, columns], labels [n] bool or numbers."""
        if not self.head.is_boolean:
            self.label_mean, self.label_scale = float(labels.mean()), max(float(labels.std()), 1e-6)
        y = torch.from_numpy((labels.astype(np.float64) - self.label_mean) / self.label_scale).float()
        self._standardise(windows, which)
        ddp = self._prepared(windows, which, features, y)
        batch = min(BATCH, len(which))
        epochs = max(EPOCHS, math.ceil(FEWEST_STEPS / math.ceil(len(which) / batch)))
        steps, step = epochs * math.ceil(len(which) / batch), 0
        for epoch in range(epochs):
            for part in torch.randperm(len(which), generator=draws(self.config, epoch, ORDER)).split(batch):
                self._step(ddp, step, steps, windows, which, features, y, part)
                step += 1
        self.head.eval()

    @torch.no_grad()
    def score(self, windows: Windows, which: Tensor, features: Tensor) -> np.ndarray:
        """[n] float64: probabilities, or numbers."""
        found = torch.empty(len(which))
        for batch, features_here, at in self._pieces(windows, which, features):
            found[at] = self.head.score(batch, features_here).float().cpu()
        found = found.double()
        return (found.sigmoid() if self.head.is_boolean else found * self.label_scale + self.label_mean).numpy()

    def _step(
        self, ddp: nn.Module, step: int, steps: int, windows: Windows, which: Tensor, features: Tensor, y: Tensor,
        part: Tensor,
    ) -> None:  # fmt: skip
        self.head.train()
        if self.device.type == "cpu":
            self.head.encoder.dropout_bits.seed(self.config.seed, step, DROPOUT, self.rank)
        else:
            torch.cuda.manual_seed((self.config.seed * 1_000_003 + step) * 1_009 + self.rank)
        share = part[places(len(part), self.rank, self.count)]
        self.optimizer.zero_grad(set_to_none=True)
        for group, rate in zip(self.optimizer.param_groups, (HEAD_RATE, ENCODER_RATE), strict=True):
            group["lr"] = rate * learning_rate(step, steps, self.config)
        pieces = list(self._pieces(windows, which[share], features[share]))
        for last, (batch, features_here, at) in enumerate(pieces, 1 - len(pieces)):
            with unsynchronised(ddp, wait=last < 0):
                loss = ddp(batch, features_here, y[share][at].to(self.device), len(part))
                (loss * self.count).backward()
        nn.utils.clip_grad_norm_([w for group in self.optimizer.param_groups for w in group["params"]], 1.0)
        self.optimizer.step()

    def _pieces(self, windows: Windows, which: Tensor, features: Tensor) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """Batches on the device, their features, and their places among `which`."""
        batch = windows.cut(which.to(windows.sequences.device)).map(lambda tensor: tensor.to(self.device))
        if self.device.type == "cpu":
            found = batch.by_length(PIECE["cpu"], WORTH_A_PIECE)
        else:
            found = [(batch, torch.arange(len(which)))]
        for piece, at in found:
            yield piece, features[at].to(self.device), at

    @torch.no_grad()
    def _standardise(self, windows: Windows, which: Tensor) -> None:
        nothing = torch.zeros(len(which), 0)
        vectors = torch.empty(len(which), len(self.head.mean), device=self.device)
        for some in torch.arange(len(which)).split(SCORED):
            for batch, _, at in self._pieces(windows, which[some], nothing[some]):
                vectors[some[at].to(self.device)] = self.head.encoder.embed(batch)
        self.head.mean.copy_(vectors.mean(0))
        scale = vectors.std(0, correction=0)
        self.head.scale.copy_(torch.where(scale > 1e-3, scale, 1.0))

    def _prepared(self, windows: Windows, which: Tensor, features: Tensor, y: Tensor) -> nn.Module:
        """The head, wrapped for several processes; weights that a score does not need, such as the decoder's, rest."""
        batch, features_here, at = next(iter(self._pieces(windows, which[:2], features[:2])))
        self.head(batch, features_here, y[:2][at].to(self.device), 2).backward()
        for weight in self.head.parameters():
            weight.requires_grad_(weight.grad is not None)
            weight.grad = None
        encoder = [weight for weight in self.head.encoder.parameters() if weight.requires_grad]
        own = [*self.head.linear.parameters(), *self.head.hidden.parameters()]
        groups = [{"params": own}, {"params": encoder}]
        self.optimizer = torch.optim.AdamW(groups, lr=HEAD_RATE, weight_decay=WEIGHT_DECAY, fused=True)
        return wrapped(self.head, self.count)

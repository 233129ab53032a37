"""Attributes of very many values, such as items: logits from the input table, a softmax over a sample of the values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caspr_train.sequences import PAD, RESERVED

NEGATIVES = 1024  # codes drawn a step
MOST_LOGITS = 2**23  # computed at once when the loss is exact: 32 MiB, and as much again for the softmax


class TiedHead(nn.Module):
    """The logit of a value is its row in the attribute's input table times the projected state, plus a bias.

    The table is passed in and belongs to the events. Reserved codes have rows of their own here: a negative that is
    drawn moves its row, and an item that training never met must go on to add nothing to an event. PAD is no value: it
    is never drawn, nor in the exact sum.
    """

    def __init__(self, hidden: int, values: int, width: int) -> None:
        """`values` codes, PAD included; `width` columns of the table."""
        super().__init__()
        self.project = nn.Linear(hidden, width, bias=False)
        # Rows of the table are drawn with variance 1 a column: so the logits begin no larger than those of a Linear.
        nn.init.uniform_(self.project.weight, -((hidden * width) ** -0.5), (hidden * width) ** -0.5)
        self.reserved = nn.Parameter(torch.zeros(RESERVED, width))
        # A model that knows nothing yet begins at Zipf's law: the rare values would be thousands of steps away.
        self.bias = nn.Parameter(torch.cat([torch.zeros(1), log_frequency(torch.arange(1, values), values)]))

    def forward(self, states: Tensor, table: Tensor, targets: Tensor, negatives: Tensor | None) -> Tensor:
        """The sum of the cross-entropies, a scalar: exact, or estimated from `negatives` [k] (see draw_negatives).

        states [m, hidden], table [values, width], targets [m] int64; PAD does not count.
        """
        if negatives is None:
            return self._exact(states, table, targets)
        return self._sampled(states, table, targets, negatives)

    def linear(self, table: Tensor) -> tuple[Tensor, Tensor]:
        """Weight [values, hidden] and bias [values] of the Linear that gives the logits of all values, PAD's too."""
        return torch.cat([self.reserved, table[RESERVED:]]) @ self.project.weight, self.bias

    def _exact(self, states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        """In pieces: without gradients the memory is bounded."""
        known = targets != PAD
        states, targets = self.project(states[known]).float(), targets[known]
        total = states.new_zeros(())
        values = torch.cat([self.reserved[PAD + 1 :], table[RESERVED:]])
        rows = max(1, MOST_LOGITS // len(values))
        for some, wanted in zip(states.split(rows), targets.split(rows), strict=True):
            logits = torch.addmm(self.bias[PAD + 1 :], some, values.t())
            total = total + F.cross_entropy(logits, wanted - (PAD + 1), reduction="sum")
        return total

    def _sampled(self, states: Tensor, table: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
        """exp(logit) of a negative is divided by how often it is expected among the k, and the softmax's denominator is
        right in expectation whatever k is. The target is always in it, once: it is not divided, and negatives that hit
        it are taken out (Blanc & Rendle 2018, https://arxiv.org/abs/1712.00527).
        """
        states = self.project(states)
        codes = torch.cat([targets, negatives])  # one look-up for both: its gradient is as large as the table
        reserved = F.embedding(codes.clamp(max=RESERVED - 1), self.reserved)
        values = torch.where(codes[:, None] < RESERVED, reserved, F.embedding(codes, table))
        own, others = values.split([len(targets), len(negatives)])
        expected = log_frequency(negatives, len(table)) + math.log(len(negatives))
        logits = (states @ others.t()).float() + (self.bias[negatives] - expected)
        logits = logits.masked_fill(targets[:, None] == negatives, -torch.inf)
        wanted = (states * own).sum(1).float() + self.bias[targets]
        first = torch.where(targets == PAD, -1, 0)
        return F.cross_entropy(torch.cat([wanted[:, None], logits], 1), first, ignore_index=-1, reduction="sum")


def log_frequency(codes: Tensor, values: int) -> Tensor:
    """log P of `codes` [...] >= 1 among `values` by Zipf's law, float32: P(c) = log((c + 1) / c) / log(values).

    Codes are given by falling frequency, the reserved ones before all others.
    """
    return ((1 / codes.double()).log1p() / math.log(values)).log().float()


def draw_negatives(values: int, generator: torch.Generator, count: int = NEGATIVES) -> Tensor:
    """[count] int64 codes from 1 to values - 1, each expected count x P(c) times, with P that of log_frequency.

    One from each of `count` slices of the distribution: common codes then come about as often as they are expected.
    """
    device = generator.device
    chances = torch.rand(count, generator=generator, device=device, dtype=torch.float64)
    chances = (torch.arange(count, device=device) + chances) / count
    return (chances * math.log(values)).exp().long().clamp(1, values - 1)

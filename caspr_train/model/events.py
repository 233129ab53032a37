"""From attributes to vectors: the event input of the paper, and the same for a profile."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from caspr_train.sequences import PAD, RESERVED, Batch, counted

WIDEST = 64  # columns of the table of an attribute of very many values


def table_width(values: int, many: int) -> int:
    """⌈√values⌉ (paper, section 5), with more than `many` values at most WIDEST: 200,000 would have 448 columns."""
    width = math.ceil(math.sqrt(values))
    return width if values <= many else min(width, WIDEST)


class AttributeVector(nn.Module):
    """concat(standardised numbers, missing indicators, categorical embeddings of width `table_width`) (section 5)."""

    def __init__(self, cardinalities: list[int], numbers: int, many: int) -> None:
        super().__init__()
        tables = [nn.Embedding(n, table_width(n, many)) for n in cardinalities]
        # A value never met in training should add nothing, not the random vector that it began with.
        for table in tables:
            nn.init.zeros_(table.weight[:RESERVED].detach())
        self.tables = nn.ModuleList(tables)
        self.width = 2 * numbers + sum(table.embedding_dim for table in tables)

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """categories [..., c] int64, numbers [..., n] with NaN for missing -> [..., width]."""
        missing = torch.isnan(numbers)
        parts = [numbers.masked_fill(missing, 0.0), missing.to(numbers.dtype)]
        parts += [table(categories[..., i]) for i, table in enumerate(self.tables)]
        return torch.cat(parts, dim=-1)


class EventEmbedding(nn.Module):
    """concat(position, attributes) -> hidden.

    A masked event loses its attributes, all of them replaced by zeros, but keeps its place: attention has no other
    notion of order, and a decoder that is asked for "the masked event" must know which one.
    """

    def __init__(self, cardinalities: list[int], numbers: int, many: int, t: int, hidden: int) -> None:
        super().__init__()
        self.attributes = AttributeVector(cardinalities, numbers, many)
        self.position = nn.Embedding(t, math.ceil(math.sqrt(t)))
        self.project = nn.Linear(self.position.embedding_dim + self.attributes.width, hidden)

    def forward(self, categories: Tensor, numbers: Tensor, hide: Tensor | None) -> Tensor:
        """categories [b, t, c], numbers [b, t, n], hide [b, t] bool (True = masked) -> [b, t, hidden].

        t may be less than the model's: places are counted from the end, and the latest activity has the last one.
        """
        b, t = categories.shape[:2]
        content = self.attributes(categories, numbers)
        if hide is not None:
            content = content.masked_fill(hide[..., None], 0.0)
        most = self.position.num_embeddings
        places = self.position(torch.arange(most - t, most, device=categories.device)).expand(b, -1, -1)
        return self.project(torch.cat([places, content], dim=-1))


def summary_width(cardinalities: list[int], numbers: int) -> int:
    """Columns of `summary`; `numbers` as there."""
    return 2 * numbers + sum(values - 1 for _, values in counted(cardinalities))


def summary(batch: Batch, hide: Tensor | None, cardinalities: list[int]) -> Tensor:
    """What there was, whatever its order, [b, summary_width]: of each number of an activity (the time to the instant is
    one) the mean over the activities where it is known, and how many these are; and how many activities have each value
    of the attributes of few values. Counts as log(1 + n). Masked activities [b, t] do not count.

    A state that is a mean over activities forgets how many there were, and dilutes a number that few of them have.
    """
    shown = batch.valid if hide is None else batch.valid & ~hide
    numbers = torch.cat([batch.numbers, batch.days_before[..., None]], dim=-1)
    known = ~numbers.isnan() & shown[..., None]
    count = known.sum(1).to(numbers.dtype)
    parts = [torch.where(known, numbers, 0.0).sum(1) / count.clamp(min=1), count.log1p()]
    for place, values in counted(cardinalities):
        codes = torch.where(shown, batch.categories[..., place], PAD)
        found = codes[..., None] == torch.arange(PAD + 1, values, device=codes.device)
        parts.append(found.sum(1).to(numbers.dtype).log1p())
    return torch.cat(parts, dim=-1)

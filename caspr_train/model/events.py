"""From attributes to vectors: the event input of the paper, and the same for a profile."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from caspr_train.sequences import RESERVED

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

"""The straightforward CASPR that `python -m caspr_train bench --synthetic KKBOX --against reference` measures against.

What a good engineer writes first from the paper: an nn.Embedding and a head for each attribute, nn.TransformerEncoder
and nn.TransformerDecoder, a Dataset with `__getitem__`, a DataLoader. It recovers the same masked events from the same
inputs, with the same layers, losses, optimiser and clip as the preset `paper`, and shares no code with caspr_train.
Where two first versions are equally likely this is the faster one: rows are padded once when the Dataset is made,
events are embedded once for encoder and decoder, and the heads are asked at the masked events alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Sequences(Dataset):
    """One item a customer: categories [t, c], numbers [t, n], days [t], valid [t]; the oldest activity comes first and
    padding last, so that the causal decoder never has to look at nothing."""

    def __init__(self, categories: Tensor, numbers: Tensor, days: Tensor, offsets: Tensor, t: int) -> None:
        """Columns of all activities [rows, ...]; customer i owns rows offsets[i] to offsets[i + 1], of which the latest
        t are kept. `days`: the standardised time from each activity to the cutoff."""
        end = offsets[1:, None]
        first = torch.maximum(offsets[:-1, None], end - t)
        rows = first + torch.arange(t)
        self.valid = rows < end
        rows = torch.minimum(rows, end - 1)
        self.categories, self.numbers, self.days = categories[rows], numbers[rows], days[rows]

    def __len__(self) -> int:
        return len(self.valid)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.categories[i], self.numbers[i], self.days[i], self.valid[i]


def loader(sequences: Sequences, batch_size: int) -> DataLoader:
    return DataLoader(sequences, batch_size, shuffle=True, drop_last=True)


class Caspr(nn.Module):
    """Encoder, customer vector of width `hidden`, decoder that sees that vector and nothing else of the encoder."""

    def __init__(
        self,
        cardinalities: list[int],
        numbers: int,
        t: int = 15,
        hidden: int = 16,
        feed_forward: int = 32,
        layers: int = 6,
        heads: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        widths = [math.ceil(math.sqrt(n)) for n in cardinalities]
        place = math.ceil(math.sqrt(t))
        self.tables = nn.ModuleList(nn.Embedding(n, w) for n, w in zip(cardinalities, widths, strict=True))
        self.position = nn.Embedding(t, place)
        # Numbers and the days before the cutoff, each with an indicator of what is missing.
        self.project = nn.Linear(sum(widths) + 2 * (numbers + 1) + place, hidden)
        encoder = nn.TransformerEncoderLayer(hidden, heads, feed_forward, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(encoder, layers, enable_nested_tensor=False)
        self.customer = nn.Sequential(nn.Linear(2 * hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, hidden))
        decoder = nn.TransformerDecoderLayer(hidden, heads, feed_forward, dropout, batch_first=True)
        self.decoder = nn.TransformerDecoder(decoder, layers)
        self.category_heads = nn.ModuleList(nn.Linear(hidden, n) for n in cardinalities)
        self.number_head = nn.Linear(hidden, numbers)

    def events(self, categories: Tensor, numbers: Tensor, days: Tensor, hide: Tensor) -> Tensor:
        """[b, t, hidden]; what is hidden is zeros but for its place."""
        numbers = torch.cat([numbers, days[..., None]], dim=-1)
        missing = numbers.isnan()
        parts = [table(categories[..., i]) for i, table in enumerate(self.tables)]
        content = torch.cat([*parts, numbers.masked_fill(missing, 0.0), missing.float()], dim=-1)
        content = content.masked_fill(hide[..., None], 0.0)
        places = self.position(torch.arange(hide.shape[1], device=hide.device)).expand(len(hide), -1, -1)
        return self.project(torch.cat([content, places], dim=-1))

    def embed(self, events: Tensor, valid: Tensor) -> Tensor:
        """The customer vectors [b, hidden]: mean and latest state of the encoder through two dense layers."""
        states = self.encoder(events, src_key_padding_mask=~valid)
        count = valid.sum(1)
        mean = (states * valid[..., None]).sum(1) / count[:, None]
        latest = states[torch.arange(len(states), device=states.device), count - 1]
        return self.customer(torch.cat([mean, latest], dim=-1))

    def forward(self, categories: Tensor, numbers: Tensor, days: Tensor, valid: Tensor, hide: Tensor) -> Tensor:
        """The mean over attributes of cross-entropy and squared error at the events that `hide` [b, t] marks."""
        events = self.events(categories, numbers, days, hide)
        latent = self.embed(events, valid)
        t = hide.shape[1]
        ahead = torch.ones(t, t, dtype=torch.bool, device=hide.device).triu(1)
        states = self.decoder(events, latent[:, None], tgt_mask=ahead, tgt_key_padding_mask=~valid)[hide]
        losses = [F.cross_entropy(head(states), categories[hide][:, i]) for i, head in enumerate(self.category_heads)]
        target = numbers[hide]
        known = ~target.isnan()
        squared = (self.number_head(states) - target.nan_to_num()).square() * known
        return torch.cat([torch.stack(losses), squared.sum(0) / known.sum(0).clamp(min=1)]).mean()


def adam(model: Caspr) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=1e-3)


def step(model: Caspr, optimizer: torch.optim.Optimizer, batch: list[Tensor], mask_share: float = 0.3) -> Tensor:
    """One step on a batch of the loader; its loss, detached."""
    device = model.number_head.weight.device
    categories, numbers, days, valid = (column.to(device) for column in batch)
    hide = valid & (torch.rand(valid.shape, device=device) < mask_share)
    optimizer.zero_grad()
    loss = model(categories.long(), numbers.float(), days, valid, hide)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()

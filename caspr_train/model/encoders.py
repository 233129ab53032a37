"""From the embedded events of a window to one pooled vector: by attention among them, by recurrence, or by looking at
each beside the two before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caspr_train.config import Config
from caspr_train.model.blocks import EncoderBlock, visible_to_encoder
from caspr_train.model.dropout import Dropout, RandomBits


class TransformerEncoder(nn.Module):
    """The paper's (section 5, figure 2). Its cost grows with the square of t."""

    def __init__(self, config: Config, bits: RandomBits) -> None:
        super().__init__()
        block = (config.hidden, config.heads, config.feed_forward, config.dropout, bits)
        self.blocks = nn.ModuleList(EncoderBlock(*block) for _ in range(config.encoder_layers))
        self.width = 2 * config.hidden

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x [b, t, hidden], valid [b, t] bool -> [b, width]."""
        visible = visible_to_encoder(valid)
        for block in self.blocks:
            x = block(x, visible)
        # The mean says what there was, the latest activity's state says where it led. Padding enters neither.
        return torch.cat([_mean(x, valid), x[:, -1]], dim=-1)


class RecurrentEncoder(nn.Module):
    """A gated recurrent unit, the control of the transformer: the same pooling of its states."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.unit = nn.GRU(config.hidden, config.hidden, config.encoder_layers, batch_first=True)
        self.width = 2 * config.hidden

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """As TransformerEncoder. It begins at the oldest activity: padding is moved behind the latest."""
        places = torch.arange(x.shape[1], device=x.device)
        length = valid.sum(1, keepdim=True)
        oldest_first = (places + x.shape[1] - length).clamp(max=x.shape[1] - 1)
        states, _ = self.unit(x.gather(1, oldest_first[..., None].expand_as(x)))
        latest = states.gather(1, (length - 1)[..., None].expand(-1, -1, states.shape[2]))[:, 0]
        return torch.cat([_mean(states, places < length), latest], dim=-1)


RECENT = 3  # events seen together: an event and those before it


class PoolEncoder(nn.Module):
    """Every event and the two before it through the same dense layers, then what the window's events have in common:
    their mean, their maximum, means weighted by attention, the latest one, and how many there are.

    Each event knows what came right before it, how long before the window's end it was and after which gap; beyond
    that no event looks at another. Linear in t, so a window can be the whole history. (Zaheer et al. 2017,
    https://arxiv.org/abs/1703.06114; the events that look back are a convolution.)
    """

    def __init__(self, config: Config, bits: RandomBits) -> None:
        super().__init__()
        hidden, self.heads = config.hidden, config.heads
        self.recent = nn.Linear(RECENT * hidden, hidden)
        self.event = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden))
        self.score = nn.Linear(hidden, config.heads)
        self.dropout = Dropout(config.dropout, bits)
        self.width = 4 * hidden + 1

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """As TransformerEncoder."""
        x = self.event(self.recent(_with_recent(x, valid)))
        b, t, hidden = x.shape
        padding = ~valid[..., None]
        # In single precision, also on a GPU: the least of a half cannot be told from some scores.
        weights = self.score(x).float().masked_fill(padding, -torch.inf).softmax(1).to(x.dtype)
        weighted = (x.view(b, t, self.heads, -1) * weights[..., None]).sum(1).view(b, hidden)
        largest = x.masked_fill(padding, -torch.inf).amax(1)
        events = valid.sum(1, keepdim=True).to(x.dtype).log1p()
        return self.dropout(torch.cat([_mean(x, valid), largest, weighted, x[:, -1], events], dim=-1))


def _mean(x: Tensor, valid: Tensor) -> Tensor:
    there = valid[..., None].to(x.dtype)
    return (x * there).sum(1) / there.sum(1)


def _with_recent(x: Tensor, valid: Tensor) -> Tensor:
    """Each place and the RECENT - 1 before it side by side, [b, t, RECENT * hidden]; zeros where there is no event, so
    that padding on the left changes nothing, however much of it there is."""
    t = x.shape[1]
    x = F.pad(x.masked_fill(~valid[..., None], 0.0), (0, 0, RECENT - 1, 0))
    return torch.cat([x[:, first : first + t] for first in range(RECENT)], dim=-1)

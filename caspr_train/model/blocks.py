"""Transformer blocks (paper, figure 2): attention and feed-forward, each followed by add and normalise."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention; query, key and value of all heads in one matrix product."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """x [b, t, hidden]; visible [b, 1, t or 1, keys], True where a query (row) may look at a key; keys >= t."""
        b, t, hidden = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        k, v = (F.pad(z, (0, 0, 0, visible.shape[-1] - t)) for z in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, visible, self.dropout if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).reshape(b, t, hidden))


class FeedForward(nn.Sequential):
    def __init__(self, hidden: int, feed_forward: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(hidden, feed_forward), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feed_forward, hidden)
        )


class EncoderBlock(nn.Module):
    """The block of torch.nn.TransformerEncoderLayer(norm_first=False): a test holds the two equal."""

    def __init__(self, hidden: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(hidden, heads, dropout)
        self.feed_forward = FeedForward(hidden, feed_forward, dropout)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        x = self.norm_attention(x + self.dropout(self.attention(x, visible)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


class DecoderBlock(nn.Module):
    """Causal self-attention, then the customer vector, then feed-forward.

    Cross-attention to a memory of one token is a linear map of that token whatever the query is (the softmax over one
    key is 1), so it is computed as one. A test holds the block equal to torch.nn.TransformerDecoderLayer with a
    memory of length one.
    """

    def __init__(self, hidden: int, heads: int, feed_forward: int, dropout: float, embedding: int) -> None:
        super().__init__()
        self.attention = Attention(hidden, heads, dropout)
        self.value = nn.Linear(embedding, hidden)
        self.out = nn.Linear(hidden, hidden)
        self.feed_forward = FeedForward(hidden, feed_forward, dropout)
        self.norm_attention, self.norm_latent = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.norm_feed_forward = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, visible: Tensor, embedding: Tensor) -> Tensor:
        """x [b, t, hidden], embedding [b, embedding]."""
        x = self.norm_attention(x + self.dropout(self.attention(x, visible)))
        x = self.norm_latent(x + self.dropout(self.out(self.value(embedding)))[:, None])
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


def visible_to_encoder(valid: Tensor) -> Tensor:
    """[b, 1, 1, keys]: every query sees the activities and never the padding."""
    return _to_vector_width(valid[:, None, None, :])


def visible_to_decoder(valid: Tensor) -> Tensor:
    """[b, 1, t, keys]: a query sees itself and the activities before it.

    Itself also on padding: a softmax over nothing is NaN, and one NaN spreads through the backward pass.
    """
    t = valid.shape[1]
    past = torch.ones(t, t, dtype=torch.bool, device=valid.device).tril()
    itself = torch.eye(t, dtype=torch.bool, device=valid.device)
    return _to_vector_width(((past & valid[:, None, :]) | itself)[:, None])


def _to_vector_width(visible: Tensor) -> Tensor:
    """Invisible keys up to a multiple of 16: on a CPU a softmax over 16 takes a tenth of the time of one over 15."""
    return F.pad(visible, (0, -visible.shape[-1] % 16))

"""Transformer blocks (paper, figure 2): attention and feed-forward, each followed by add and normalise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from caspr_train.model.attention import Attention
from caspr_train.model.dropout import Dropout, RandomBits


class FeedForward(nn.Sequential):
    def __init__(self, hidden: int, feed_forward: int, dropout: float, bits: RandomBits) -> None:
        super().__init__(
            nn.Linear(hidden, feed_forward), nn.ReLU(), Dropout(dropout, bits), nn.Linear(feed_forward, hidden)
        )


class EncoderBlock(nn.Module):
    """The block of torch.nn.TransformerEncoderLayer(norm_first=False): a test holds the two equal."""

    def __init__(self, hidden: int, heads: int, feed_forward: int, dropout: float, bits: RandomBits) -> None:
        super().__init__()
        self.attention = Attention(hidden, heads)
        self.feed_forward = FeedForward(hidden, feed_forward, dropout, bits)
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.dropout = Dropout(dropout, bits)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        x = self.norm_attention(x + self.dropout(self.attention(x, visible)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


class DecoderBlock(nn.Module):
    """Causal self-attention, then the customer vector, then feed-forward.

    Cross-attention to a memory of one token is a linear map of that token whatever the query is (the softmax over one
    key is 1), so it is computed as one. A test holds the block equal to torch.nn.TransformerDecoderLayer with a
    memory of length one.
    """

    def __init__(
        self, hidden: int, heads: int, feed_forward: int, dropout: float, bits: RandomBits, embedding: int
    ) -> None:
        super().__init__()
        self.attention = Attention(hidden, heads)
        self.value = nn.Linear(embedding, hidden)
        self.out = nn.Linear(hidden, hidden)
        self.feed_forward = FeedForward(hidden, feed_forward, dropout, bits)
        self.norm_attention, self.norm_latent = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.norm_feed_forward = nn.LayerNorm(hidden)
        self.dropout = Dropout(dropout, bits)

    def forward(self, x: Tensor, visible: Tensor, embedding: Tensor) -> Tensor:
        """x [b, t, hidden], embedding [b, embedding]."""
        x = self.norm_attention(x + self.dropout(self.attention(x, visible)))
        x = self.norm_latent(x + self.dropout(self.out(self.value(embedding)))[:, None])
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))


def visible_to_encoder(valid: Tensor) -> Tensor:
    """[b, 1, t]: every query sees the activities and never the padding."""
    return valid[:, None, :]


def visible_to_decoder(valid: Tensor) -> Tensor:
    """[b, t, t]: a query sees itself and the activities before it.

    Itself also on padding: a softmax over nothing is NaN, and one NaN spreads through the backward pass.
    """
    t = valid.shape[1]
    past = torch.ones(t, t, dtype=torch.bool, device=valid.device).tril()
    itself = torch.eye(t, dtype=torch.bool, device=valid.device)
    return (past & valid[:, None, :]) | itself

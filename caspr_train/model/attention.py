"""Self-attention over some fifteen activities: on a GPU torch's kernels, on a CPU one for many short sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Up to so many events: what grows with their square soon leaves the cache. Of twenty it takes 0.8 of SDPA's time, of
# thirty 1.0 to 1.5 (heads of 2 and 8 columns).
SHORT = 20


class Attention(nn.Module):
    """Multi-head self-attention; query, key and value of all heads in one matrix product.

    No dropout of the attention weights: the transformer that the paper builds on drops out what a sub-layer gives
    (Vaswani et al. 2017, section 5.4).
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """x [b, t, hidden]; visible [b, t or 1, t], True where a query (row) may look at a key: at one at least."""
        b, t, hidden = x.shape
        if x.device.type == "cpu" and t <= SHORT and not torch.compiler.is_compiling():
            return self.out(_ShortAttention.apply(self.qkv(x), visible, self.heads))
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, visible[:, None])
        return self.out(mixed.transpose(1, 2).reshape(b, t, hidden))


class _ShortAttention(torch.autograd.Function):
    """softmax(q kᵀ / √d) v for heads of a few columns and sequences of a few events, with the batch as the last axis.

    A head of 2 columns gives a matrix product nothing to do: torch's kernels spend their time on its edges. Here every
    operation runs along the batch and fills the vector unit. Forward and backward together take 0.4 to 0.8 of the time
    of scaled_dot_product_attention (256 sequences of 15, one thread; heads of 2 columns 0.4, of 8 columns 0.8).
    Axes: i query, j key, h head, d column of a head, b sequence.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, visible: Tensor, heads: int) -> Tensor:
        b, t, width = qkv.shape
        columns = width // (3 * heads)
        q, k, v = qkv.view(b, t * width).t().contiguous().view(t, 3, heads, columns, b).unbind(1)  # [t, h, d, b] each
        scores = _outer(q * columns**-0.5, k)
        scores.masked_fill_(~visible.permute(1, 2, 0)[:, :, None], -torch.inf)
        scores -= scores.amax(1, keepdim=True)
        weights = scores.exp_()
        weights /= weights.sum(1, keepdim=True)
        mixed = torch.stack([(weights * v[None, :, :, d]).sum(1) for d in range(columns)], dim=2)  # [i, h, d, b]
        ctx.save_for_backward(q, k, v, weights, mixed)
        return mixed.view(t * heads * columns, b).t().reshape(b, t, heads * columns)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        q, k, v, weights, mixed = ctx.saved_tensors
        t, heads, columns, b = q.shape
        above = gradient.reshape(b, -1).t().contiguous().view(t, heads, columns, b)
        below = gradient.new_empty(t, 3, heads, columns, b)
        # Of the softmax: dS = W (dW - Σ_j W dW), and Σ_j W dW is the product of the output with its gradient.
        scores = _outer(above, v)
        scores -= (above * mixed).sum(2)[:, None]
        scores *= weights
        scores *= columns**-0.5
        for d in range(columns):
            below[:, 0, :, d] = (scores * k[None, :, :, d]).sum(1)
            below[:, 1, :, d] = (scores * q[:, None, :, d]).sum(0)
            below[:, 2, :, d] = (weights * above[:, None, :, d]).sum(0)
        return below.view(-1, b).t().reshape(b, t, 3 * heads * columns), None, None


def _outer(rows: Tensor, columns: Tensor) -> Tensor:
    """[i, j, h, b] from two [t, h, d, b]: Σ_d rows[i] columns[j]."""
    out = rows[:, None, :, 0] * columns[None, :, :, 0]
    for d in range(1, rows.shape[2]):
        out.addcmul_(rows[:, None, :, d], columns[None, :, :, d])
    return out

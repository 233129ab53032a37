"""Dropout whose random bits are cheap on a CPU and a pure function of what they were seeded with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RandomBits:
    """16-bit numbers for the dropout of a whole model, from numpy's SFC64.

    torch draws 32 bits a decision from one Mersenne twister: a quarter of a training step of the paper's model.
    """

    def __init__(self) -> None:
        self.seed(0)

    def seed(self, *numbers: int) -> None:
        """From here on the bits depend on `numbers` and on the order of the calls alone."""
        self._generator = np.random.Generator(np.random.SFC64(np.random.SeedSequence(numbers)))

    def draw(self, count: int) -> Tensor:
        """[count] int16, uniform."""
        words = self._generator.integers(0, 2**64, -(-count // 4), dtype=np.uint64)
        return torch.from_numpy(words.view(np.int16))[:count]


class Dropout(nn.Module):
    """torch.nn.Dropout, `share` to the nearest 1/65536; on a GPU torch's own."""

    def __init__(self, share: float, bits: RandomBits) -> None:
        super().__init__()
        self.share, self.bits = share, bits
        self._dropped = round(share * 2**16)  # so many of the 65,536 numbers

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self._dropped:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.share)
        kept = self.bits.draw(x.numel()).view(x.shape) >= self._dropped - 2**15
        return x * kept.to(x.dtype).mul_(2**16 / (2**16 - self._dropped))

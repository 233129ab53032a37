"""What training shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Epoch, loss, sequences/s and time left, on standard error."""

    def __init__(self, steps_per_epoch: int, epochs: int, quiet: bool) -> None:
        self.epochs, self.quiet = epochs, quiet
        self.started = self.said = time.monotonic()
        self.bar = None
        if not quiet and sys.stderr.isatty():
            self.bar = tqdm(total=steps_per_epoch * epochs, unit="step", dynamic_ncols=True, desc=f"epoch 1/{epochs}")

    def step(self) -> None:
        if self.bar is not None:
            self.bar.update(1)

    def epoch(self, epoch: int, loss: float, validation_loss: float | None, rate: float) -> None:
        """After epoch number `epoch` (from 0), of mean loss `loss`, at `rate` sequences a second."""
        now, done = time.monotonic(), epoch + 1
        held_out = "" if validation_loss is None else f"  held out {validation_loss:.4f}"
        if self.bar is not None:
            self.bar.set_description(f"epoch {min(done + 1, self.epochs)}/{self.epochs}")
            self.bar.set_postfix_str(f"loss {loss:.4f}{held_out}  {rate:,.0f} sequences/s")
        elif not self.quiet and (done in (1, self.epochs) or now - self.said >= SECONDS_BETWEEN_LINES):
            left = (now - self.started) / done * (self.epochs - done)
            print(
                f"epoch {done}/{self.epochs}  loss {loss:.4f}{held_out}  {rate:,.0f} sequences/s  {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            self.said = now

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

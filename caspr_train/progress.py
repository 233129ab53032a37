"""What training shows while it runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

SECONDS_BETWEEN_LINES = 5.0  # where there is no terminal
SECONDS_BETWEEN_LOSSES = 1.0  # on a bar


class Progress:
    """Epoch, loss, sequences/s and time left, on standard error."""

    def __init__(self, steps_per_epoch: int, epochs: int, done: int, quiet: bool) -> None:
        self.steps_per_epoch, self.epochs, self.done, self.quiet = steps_per_epoch, epochs, done, quiet
        self.started = self.said = time.monotonic()
        self.bar = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm  # `bench --synthetic` must do without

            self.bar = tqdm(
                total=steps_per_epoch * epochs, initial=done, unit="step", dynamic_ncols=True, desc=f"epoch 1/{epochs}"
            )

    def step(self, epoch: int, steps: int, loss: float, rate: float) -> None:
        """After the first `steps` steps of epoch number `epoch` (from 0), whose mean loss is `loss`."""
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.update(epoch * self.steps_per_epoch + steps - self.bar.n)
        wait = SECONDS_BETWEEN_LOSSES if self.bar is not None else SECONDS_BETWEEN_LINES
        if time.monotonic() - self.said >= wait and steps < self.steps_per_epoch:
            self._say(epoch, steps, loss, None, rate)

    def epoch(self, epoch: int, loss: float, validation_loss: float | None, rate: float) -> None:
        """After epoch number `epoch`, of mean loss `loss`, at `rate` sequences a second so far."""
        is_edge = epoch in (0, self.epochs - 1)
        if not self.quiet and (
            self.bar is not None or is_edge or time.monotonic() - self.said >= SECONDS_BETWEEN_LINES
        ):
            self._say(epoch, self.steps_per_epoch, loss, validation_loss, rate)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _say(self, epoch: int, steps: int, loss: float, validation_loss: float | None, rate: float) -> None:
        held_out = "" if validation_loss is None else f"  held out {validation_loss:.4f}"
        figures = f"loss {loss:.4f}{held_out}  {rate:,.0f} sequences/s"
        if self.bar is not None:
            self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}")
            self.bar.set_postfix_str(figures)
        else:
            done = epoch * self.steps_per_epoch + steps
            left = (time.monotonic() - self.started) / max(1, done - self.done)
            left *= self.epochs * self.steps_per_epoch - done
            print(f"epoch {epoch + 1}/{self.epochs}  {figures}  {left:.0f} s left", file=sys.stderr, flush=True)
        self.said = time.monotonic()

"""Being told to stop: a signal is remembered, and the training leaves at its next step with a checkpoint."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from caspr_train.errors import CasprError

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(CasprError):
    """The training was told to stop and has left a checkpoint. Exit code 75 (EX_TEMPFAIL): the same command goes on."""

    exit_code = 75


class Stop:
    """Whether this process was told to stop."""

    def __init__(self) -> None:
        self.told: signal.Signals | None = None

    def _remember(self, number: int, _: FrameType | None) -> None:
        if self.told is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C means now
        self.told = signal.Signals(number)


@contextmanager
def remembered() -> Iterator[Stop]:
    """Inside the block the signals only set `told`. Outside the main thread, where Python allows none, none is set."""
    stop = Stop()
    try:
        before = {number: signal.signal(number, stop._remember) for number in SIGNALS}
    except ValueError:
        before = {}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

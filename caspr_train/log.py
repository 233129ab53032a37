"""What a training leaves to read: JSON lines and, where the extra is installed, TensorBoard's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class TrainingLog:
    """`folder`/training.jsonl, an event a line, and `folder`/tensorboard. A resumed training adds to both.

    A line begins with `event` and the steps done: "begin", "checkpoint" (amid an epoch), "epoch", "end".
    """

    def __init__(self, folder: Path) -> None:
        self._lines = (folder / "training.jsonl").open("a", encoding="utf-8")
        self._board = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # the extra `tensorboard` is not installed
            return
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, event: str, step: int, **figures: Any) -> None:
        self._lines.write(json.dumps({"event": event, "step": step, **figures}) + "\n")
        self._lines.flush()
        if self._board is not None:
            for name, value in figures.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    self._board.add_scalar(f"{event}/{name}", value, step)

    def close(self) -> None:
        self._lines.close()
        if self._board is not None:
            self._board.close()

"""Files and folders that are whole or not there, and folders that do not outlive their process."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from caspr_train.errors import DataError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to that takes its final name when the block ends well, and is removed when it does not."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """The same for a folder: an empty one to fill, which takes the place of `folder` when the block ends well."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent`, which is made if need be; gone when the block ends, however it ends.

    What a killed process left is removed by the next one: a folder whose lock nobody holds has no owner. DataError:
    `parent` cannot be written.
    """
    made = not parent.exists()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for left in parent.glob(f"{SCRATCH}*"):
            _remove_if_left(left)
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=parent))
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise DataError(
            f"{parent} cannot be written ({error.strerror}); expected a folder for the runs: name another with --runs"
        ) from None
    try:
        with lock:
            with suppress(OSError):  # on a file system without locks nothing is taken for left
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made:
            with suppress(OSError):  # something is in it by now
                parent.rmdir()


SCRATCH, LOCK = ".packed-", "lock"


def _remove_if_left(folder: Path) -> None:
    try:
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # held, or without a lock yet
        return

"""Files and folders that are whole or not there, and folders that belong to one process."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, TextIO

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
    draft, old = (folder.with_name(f".{folder.name}.{end}") for end in ("draft", "old"))
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():  # out of the way in one step: removed file by file it would be half there
            os.replace(folder, old)
        os.replace(draft, folder)
        shutil.rmtree(old, ignore_errors=True)  # not before the new one is there
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
        folder, lock = _make_locked(parent)
    except OSError as error:
        raise DataError(
            f"{parent} cannot be written ({error.strerror}); expected a folder for the runs: name another with --runs"
        ) from None
    try:
        with _held_by_all(lock):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made:
            with suppress(OSError):  # something is in it by now
                parent.rmdir()


SCRATCH, LOCK = ".packed-", "lock"


def _make_locked(parent: Path) -> tuple[Path, TextIO]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=parent))
        lock = (folder / LOCK).open("w")
        with suppress(OSError):  # on a file system without locks nothing is taken for left
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / LOCK)):
                return folder, lock
        lock.close()  # somebody took it for left, before it was locked


def _remove_if_left(folder: Path) -> None:
    try:
        with (folder / LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # held, or without a lock yet
        return


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Have `folder`, which is made if need be, to this process and those that it spawns until the block ends.

    Left empty, it is removed. DataError: another process has it.
    """
    with _held_by_all(_take(folder)):
        try:
            yield
        finally:
            (folder / LOCK).unlink(missing_ok=True)
            with suppress(OSError):  # there is something else in it
                folder.rmdir()


def _take(folder: Path) -> TextIO:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = (folder / LOCK).open("a+")
        except FileNotFoundError:  # who had the folder has just removed it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DataError(
                f"{folder} is in use by {lock.read() or 'another process'}, or by what it started; wait until that has "
                "ended, or end it, and run the same command again"
            ) from None
        except OSError:  # a file system without locks: nobody is kept out
            pass
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / LOCK)):
                lock.truncate(0)
                lock.write(f"process {os.getpid()} on {socket.gethostname()}")
                lock.flush()
                return lock
        lock.close()  # of a file that is gone by now: it would keep nobody out


_held: list[TextIO] = []


@contextmanager
def _held_by_all(lock: TextIO) -> Iterator[None]:
    """In the block the lock goes to the processes that are spawned, too; at its end it is given back here."""
    with lock:
        _held.append(lock)
        try:
            yield
        finally:
            _held.remove(lock)


class Locks:
    """What this process has locked. Sent to a process that it spawns, it stays locked until both have ended: what a
    killed process started may still write there."""

    def __reduce__(self) -> tuple[Any, ...]:
        for lock in _held:
            DupFd(lock.fileno())  # open in the other process under the same number: nothing is left to do there
        return Locks, ()

"""BLAS in one thread: another number of threads adds in another order, and the last bit of a sum depends on that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_lock = threading.Lock()
_inside = 0
_limits: threadpool_limits | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS has one thread until the last of those who are inside has left.

    Its number of threads is the process's, and dbt runs models side by side: a limit of each by itself would be lifted
    by whoever leaves first, and stay for good if it came second.
    """
    global _inside, _limits
    with _lock:
        if not _inside:
            _limits = threadpool_limits(1, "blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _limits is not None:
                _limits.restore_original_limits()

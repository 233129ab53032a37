"""Which customers take part in fitting and measuring, and who is measured by whom: fixed choices by a hash of the key.

The hash is MD5 of the customer's key as text, because every warehouse can compute it too: a sample is then a condition
in SQL, and rows that do not take part are never read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator

import numpy as np

# So many customers decide a comparison to a tenth of a standard error or less; more of them only cost time.
MAXIMUM_CUSTOMERS = 100_000
FOLDS = 3


def hashes(customer_ids: Iterable[str]) -> np.ndarray:
    """[n] uint64: the first 16 hexadecimal digits of the MD5 of each key."""
    digests = (hashlib.md5(str(key).encode(), usedforsecurity=False).digest()[:8] for key in customer_ids)
    return np.fromiter((int.from_bytes(digest, "big") for digest in digests), np.uint64)


def is_sampled(customer_ids: Iterable[str], customers: int, most: int = MAXIMUM_CUSTOMERS) -> np.ndarray:
    """[n] bool: which keys take part where there are `customers` in all; about `most` of them, or everybody."""
    return (hashes(customer_ids) >> np.uint64(32)) < np.uint64(_bound(customers, most))


def sampled_in_sql(customers: int, most: int = MAXIMUM_CUSTOMERS) -> str:
    """The condition on `customer_id` that `is_sampled` is, in SQL; an empty text if everybody takes part."""
    bound = _bound(customers, most)
    return "" if bound == 1 << 32 else f"substr(md5(customer_id), 1, 8) < '{bound:08x}'"


def parts_in_sql(customers: int, most: int, share: float = 1.0) -> Iterator[str]:
    """Conditions on `customer_id` in SQL that part this share of `customers` into parts of about `most` at most; an
    empty text if one part holds all. Each costs a pass over the table, so there are no more of them than there must be.
    """
    parts, end = math.ceil(customers * share / most), round((1 << 32) * share)
    for part in range(parts):
        first, after = (end * edge // parts for edge in (part, part + 1))
        yield f"substr(md5(customer_id), 1, 8) between '{first:08x}' and '{after - 1:08x}'" if parts > 1 else ""


def share(customers: int, most: int = MAXIMUM_CUSTOMERS) -> float:
    """What share of `customers` takes part, so that about `most` do at most."""
    return _bound(customers, most) / (1 << 32)


def folds(customer_ids: Iterable[str]) -> np.ndarray:
    """[n] int64 from 0 to FOLDS - 1, the same for all rows of a customer and independent of `is_sampled`."""
    return ((hashes(customer_ids) & np.uint64(0xFFFFFFFF)) % np.uint64(FOLDS)).astype(np.int64)


def is_apart(customer_ids: Iterable[str]) -> np.ndarray:
    """[n] bool: a third of the customers, independent of their fold: whom probabilities are calibrated on."""
    return (hashes(customer_ids) >> np.uint64(13)) % np.uint64(3) == 0


def _bound(customers: int, most: int) -> int:
    return 1 << 32 if customers <= most else round((1 << 32) * most / customers)

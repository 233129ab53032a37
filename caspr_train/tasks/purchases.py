"""What customers had bought before a cutoff, as sparse matrices, and the items that can be recommended there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from caspr_train.errors import DataError
from caspr_train.tasks import sample
from caspr_train.tasks.frames import Read
from caspr_train.tasks.representations import normalise_key
from caspr_train.tasks.vectors import stack

# Customers whose purchases are in memory at once.
CHUNK_CUSTOMERS = 65_536


@dataclass(frozen=True)
class Items:
    """The items bought before a cutoff, the most popular first: of equal scores the smaller column wins.

    names: [m] text. share: [m] float32 that sums up to 1, the item's share of the purchases of late.
    vectors, bias, has_vector: [m, width] float32, [m] float32 and [m] bool, of the items that the model knows; with
    width 0 before the first training.
    """

    names: pd.Index
    share: np.ndarray
    vectors: np.ndarray
    bias: np.ndarray
    has_vector: np.ndarray


@dataclass(frozen=True)
class Customers:
    """Customers at a cutoff, sorted by key.

    times, days: [n, m] CSR float32 of the same places: how often an item was bought, and how long ago the last time
    lies. is_closed: [n, m] CSR, True where an item must not be recommended (again). vectors: [n, width] float32, NaN
    where the customer has none.
    """

    ids: pd.Index
    times: sparse.csr_array
    days: sparse.csr_array
    is_closed: sparse.csr_array
    vectors: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice | np.ndarray) -> Customers:
        return Customers(self.ids[rows], self.times[rows], self.days[rows], self.is_closed[rows], self.vectors[rows])


def read_items(read: Read, cutoff_at: pd.Timestamp) -> Items:
    """From the marts item_popularity and item_embeddings."""
    frame = read("item_popularity", at(cutoff_at))
    frame = frame.assign(item=frame["item"].astype("string"))
    order = ["recent_customers", "customers", "item"]
    frame = frame.sort_values(order, ascending=[False, False, True], ignore_index=True)
    # An item that nobody bought of late is not impossible: it counts as a tenth of a customer.
    share = frame["recent_customers"].to_numpy(np.float64) + 0.1
    names = pd.Index(frame["item"])
    known = read("item_embeddings", "")
    known = known[known["embedding"].notna() & known["bias"].notna()]
    place = pd.Index(known["item"].astype("string")).get_indexer(names)
    has_vector = place >= 0
    width = len(known["embedding"].iloc[0]) if len(known) else 0
    vectors, bias = np.zeros((len(names), width), np.float32), np.zeros(len(names), np.float32)
    if has_vector.any():
        vectors[has_vector] = stack(known["embedding"].iloc[place[has_vector]], "item_embeddings")
        bias[has_vector] = known["bias"].to_numpy(np.float32)[place[has_vector]]
    return Items(names, (share / share.sum()).astype(np.float32), vectors, bias, has_vector)


def read_customers(read: Read, items: Items, cutoff_at: pd.Timestamp, condition: str) -> Customers:
    """From customer_cutoffs, purchase_history and customer_embeddings, where the condition (SQL, or empty) holds."""
    here = " and ".join(filter(None, (at(cutoff_at), condition)))
    ids = normalise_key(read("customer_cutoffs", here), "customer_cutoffs")["customer_id"]
    customers = pd.Index(ids.sort_values(), dtype="string")
    bought = normalise_key(read("purchase_history", here), "purchase_history")
    rows, columns = (
        customers.get_indexer(bought["customer_id"]),
        items.names.get_indexer(bought["item"].astype("string")),
    )
    is_known = (rows >= 0) & (columns >= 0)
    bought, places = bought[is_known], (rows[is_known], columns[is_known])
    since = cutoff_at - pd.to_datetime(bought["last_purchased_at"]).astype("datetime64[us]")
    closed = ~bought["is_recommendable"].to_numpy(bool)

    def matrix(values: np.ndarray, which: slice | np.ndarray = slice(None)) -> sparse.csr_array:
        shape = len(customers), len(items.names)
        made = sparse.csr_array((values[which], (places[0][which], places[1][which])), shape=shape)
        made.sort_indices()
        return made

    return Customers(
        customers,
        matrix(bought["purchase_count"].to_numpy(np.float32)),
        matrix((since / pd.Timedelta(days=1)).to_numpy(np.float32)),
        matrix(closed, closed),
        _vectors(read, customers, here, items.vectors.shape[1]),
    )


def chunks(read: Read, items: Items, cutoff_at: pd.Timestamp, customers: int) -> Iterator[Customers]:
    """All customers of a cutoff, of whom there are about `customers`, in pieces of CHUNK_CUSTOMERS or so."""
    for condition in sample.parts_in_sql(customers, CHUNK_CUSTOMERS):
        chunk = read_customers(read, items, cutoff_at, condition)
        if len(chunk):
            yield chunk


def without_activity(read: Read, items: Items, cutoff_at: pd.Timestamp, customers: int) -> Iterator[Customers]:
    """The rows of customers_without_activity at a cutoff, of which there are `customers`, in the same pieces: customers
    without purchases and without a vector."""
    for condition in sample.parts_in_sql(customers, CHUNK_CUSTOMERS):
        here = " and ".join(filter(None, (at(cutoff_at), condition)))
        ids = normalise_key(read("customers_without_activity", here), "customers_without_activity")["customer_id"]
        shape = len(ids), len(items.names)
        nothing = sparse.csr_array(shape, dtype=np.float32)
        vectors = np.full((len(ids), items.vectors.shape[1]), np.nan, np.float32)
        closed = sparse.csr_array(shape, dtype=bool)
        yield Customers(pd.Index(ids.sort_values(), dtype="string"), nothing, nothing, closed, vectors)


def at(cutoff_at: pd.Timestamp) -> str:
    """The condition in SQL: a row of this cutoff."""
    return f"cutoff_at = cast('{cutoff_at.isoformat(' ', 'microseconds')}' as timestamp)"


def _vectors(read: Read, customers: pd.Index, here: str, width: int) -> np.ndarray:
    vectors = np.full((len(customers), width), np.nan, np.float32)
    if not width:
        return vectors
    frame = normalise_key(read("customer_embeddings", here), "customer_embeddings")
    frame = frame[frame["embedding"].notna()]
    place = customers.get_indexer(frame["customer_id"])
    if (place >= 0).any():
        known = stack(frame["embedding"][place >= 0], "customer_embeddings")
        if known.shape[1] != width:
            raise DataError(
                f"item_embeddings: vectors of {width} numbers, found {known.shape[1]} in customer_embeddings; "
                "embed again with `caspr_train embed`"
            )
        vectors[place[place >= 0]] = known
    vectors[~np.isfinite(vectors).all(axis=1)] = np.nan
    return vectors

"""What a learner is fed: one float32 matrix a representation, in one fixed order of rows.

| representation | columns |
|---|---|
| `rfm` | the numeric columns of `rfm_features` |
| `caspr` | the embedding |
| `caspr_rfm` | both |
| `rfm_noise` | `rfm` and as many N(0,1) columns as the embedding has: the control, what mere columns give |

Memory, for a million (customer, cutoff) rows: 4 MB a column, so 55 features, an embedding and its noise of 64 columns
each take 0.73 GB. The four representations are views on these three blocks, joined for the rows asked for only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from caspr_train.errors import DataError

KEYS = ["cutoff_at", "customer_id"]
# Bookkeeping of the incremental marts and no feature: a hash of the future, too.
FINGERPRINT = "customer_fingerprint"
CONTROLS = ("rfm_noise",)
NOISE_SEED = 20_210


@dataclass(frozen=True)
class Representations:
    """The rows of `rfm_features`, sorted by (cutoff_at, customer_id), and what is known of each.

    rows: customer_id and cutoff_at, index 0..n-1.
    rfm: [n, features] float32, NaN where missing.
    embedding: [n, width] float32, NaN where the customer has none at that cutoff; width 0 before the first training.
    has_embedding: [n] bool.
    model_version: of the embedding; None before the first training.
    ignored: columns of `rfm_features` that are no numbers.
    """

    rows: pd.DataFrame
    rfm: np.ndarray
    embedding: np.ndarray
    noise: np.ndarray
    has_embedding: np.ndarray
    model_version: str | None
    ignored: tuple[str, ...]

    def usable(self, fit: np.ndarray, target: np.ndarray) -> list[str]:
        """Names of the representations that exist both where is fitted and where is scored ([n] bool or positions)."""
        if self.has_embedding[fit].any() and self.has_embedding[target].any():
            return ["rfm", "caspr", "caspr_rfm", "rfm_noise"]
        return ["rfm"]

    def matrix(self, name: str, positions: np.ndarray) -> np.ndarray:
        """[len(positions), columns] float32 of the representation `name`."""
        blocks = {
            "rfm": (self.rfm,),
            "caspr": (self.embedding,),
            "caspr_rfm": (self.rfm, self.embedding),
            "rfm_noise": (self.rfm, self.noise),
        }[name]
        return np.hstack([block[positions] for block in blocks])


def build(rfm_features: pd.DataFrame, customer_embeddings: pd.DataFrame) -> Representations:
    """Join the features with the embeddings (left join: a customer without an embedding keeps NaN).

    Of several model versions the one embedded last is used. Raises DataError when a key is there twice, or when the
    embeddings of one version differ in width.
    """
    features = sort_by_key(rfm_features, "rfm_features")
    rfm, ignored = _numeric_matrix(features)
    rows = features[["customer_id", "cutoff_at"]]

    vectors, version = _latest_version(customer_embeddings)
    width = len(vectors["embedding"].iloc[0]) if len(vectors) else 0
    embedding = np.full((len(rows), width), np.nan, dtype=np.float32)
    if width:
        found = rows.merge(vectors[KEYS].assign(position=np.arange(len(vectors))), how="left", on=KEYS)["position"]
        has_embedding = found.notna().to_numpy()
        embedding[has_embedding] = _stack(vectors["embedding"], width)[found[has_embedding].to_numpy(dtype=np.int64)]
        embedding[~np.isfinite(embedding)] = np.nan
    else:
        has_embedding = np.zeros(len(rows), dtype=bool)

    # Drawn after sorting, so that a customer's noise does not depend on the order in which SQL returned the rows.
    noise = np.random.default_rng(NOISE_SEED).standard_normal(embedding.shape, dtype=np.float32)
    return Representations(rows, rfm, embedding, noise, has_embedding, version, ignored)


def sort_by_key(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Sorted by (cutoff_at, customer_id), of the types of `normalise_key`. Raises DataError on a double key."""
    frame = normalise_key(frame, name)
    frame = frame.sort_values(KEYS, kind="stable", ignore_index=True)
    twice = frame.duplicated(KEYS)
    if twice.any():
        first = frame.loc[twice.idxmax()]
        raise DataError(
            f"{name}: customer {first['customer_id']!r} at cutoff {first['cutoff_at']} is there more than once, "
            "expected one row a customer and cutoff; make (customer_id, cutoff_at) unique"
        )
    return frame


def normalise_key(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A copy with cutoff_at as datetime64[us] and customer_id as text, so that tables of any source join."""
    missing = [column for column in KEYS if column not in frame.columns]
    if missing:
        raise DataError(f"{name}: no column {missing[0]!r}, found {list(frame.columns)}; build the marts again")
    return frame.assign(
        cutoff_at=pd.to_datetime(frame["cutoff_at"]).astype("datetime64[us]"),
        customer_id=frame["customer_id"].astype("string"),
    )


def _numeric_matrix(features: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """[n, features] float32 of the numeric and boolean columns, and the names of the others."""
    columns: list[str] = []
    ignored: list[str] = []
    for name in features.columns.drop([*KEYS, FINGERPRINT], errors="ignore"):
        numeric = pd.api.types.is_numeric_dtype(features[name]) or pd.api.types.is_bool_dtype(features[name])
        (columns if numeric else ignored).append(name)
    matrix = np.empty((len(features), len(columns)), dtype=np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and inf is missing
        for place, name in enumerate(columns):
            matrix[:, place] = features[name].to_numpy(dtype=np.float64, na_value=np.nan)
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix, tuple(ignored)


def _latest_version(customer_embeddings: pd.DataFrame) -> tuple[pd.DataFrame, str | None]:
    """The rows of the model version that was embedded last, sorted; and that version."""
    frame = customer_embeddings[customer_embeddings["embedding"].notna()] if len(customer_embeddings) else None
    if frame is None or frame.empty:
        return pd.DataFrame({"cutoff_at": [], "customer_id": [], "embedding": []}), None
    versions = frame.groupby(frame["model_version"].astype(str))["embedded_at"].max()
    latest = max(versions.index, key=lambda version: (versions[version], version))
    return sort_by_key(frame[frame["model_version"].astype(str) == latest], f"customer_embeddings of {latest}"), latest


def _stack(vectors: pd.Series, width: int) -> np.ndarray:
    """[n, width] float32 of a column of arrays; a null inside an array becomes NaN."""
    odd = next((len(vector) for vector in vectors if len(vector) != width), None)
    if odd is not None:
        raise DataError(
            f"customer_embeddings: widths {width} and {odd} within one model_version, expected one width; "
            "embed again with `caspr_train embed`"
        )
    # DuckDB gives a masked array for a list that holds a null; filling it turns the mask into NaN.
    return np.stack([np.ma.filled(np.ma.asarray(vector, dtype=np.float32), np.nan) for vector in vectors])

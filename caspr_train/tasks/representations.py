"""What a learner is fed: one float32 matrix a representation, in one fixed order of rows.

| representation | columns |
|---|---|
| `rfm` | the numbers of `rfm_features` and of the profile, whose categories have a column for each common value |
| `rfm_content` | `rfm` and the numbers of `content_features` |
| `caspr` | the embedding |
| `caspr_rfm`, `caspr_rfm_content` | the embedding and `rfm`, or `rfm_content` |
| `rfm_noise` | control: `rfm` and as many N(0,1) columns as the embedding has, which tell nothing |
| `rfm_random_encoder` | control: `rfm` and the vector of the same architecture, untrained |
| `rfm_mean_pool` | control: `rfm` and the mean of the encoded raw events |

The simpler ones stand first. Customers without any activity have their profile alone (`PROFILE`), which is no
representation of others and is not measured.

Memory: 4 bytes a row and column; the matrices are joined from blocks for the rows asked for only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from caspr_train.errors import DataError
from caspr_train.schema import PROFILE_BEGAN_AT
from caspr_train.tasks.frames import Read
from caspr_train.tasks.vectors import stack

KEYS = ["cutoff_at", "customer_id"]
# Bookkeeping of the incremental marts and no feature: a hash of the future, too.
FINGERPRINT = "customer_fingerprint"
BLOCKS = {
    "rfm": ("rfm",),
    "rfm_content": ("rfm", "content"),
    "caspr": ("caspr",),
    "caspr_rfm": ("rfm", "caspr"),
    "caspr_rfm_content": ("rfm", "content", "caspr"),
    "rfm_noise": ("rfm", "noise"),
    "rfm_random_encoder": ("rfm", "random_encoder"),
    "rfm_mean_pool": ("rfm", "mean_pool"),
}
CONTROLS = ("rfm_noise", "rfm_random_encoder", "rfm_mean_pool")
# What is known of a customer without any activity: the numbers of the profile, a block and a representation by itself.
PROFILE = "profile"
COMMONEST = 10  # values of a profile's category with a column of their own


@dataclass(frozen=True)
class Representations:
    """The rows of `rfm_features`, or of customers without activity, sorted by (cutoff_at, customer_id); what is known
    of each.

    rows: customer_id and cutoff_at, index 0..n-1.
    blocks: [n, columns] float32 each, NaN where missing; those without columns (no embedding yet) are left out.
    has_embedding: [n] bool.
    model_version: of the embedding; None before the first training.
    ignored: columns of the marts that are no numbers.
    """

    rows: pd.DataFrame
    blocks: dict[str, np.ndarray]
    has_embedding: np.ndarray
    model_version: str | None
    ignored: tuple[str, ...]

    def usable(self, fit: np.ndarray, target: np.ndarray) -> list[str]:
        """Names of the representations that exist both where is fitted and where is scored ([n] bool or positions)."""
        there = set(self.blocks)
        if not (self.has_embedding[fit].any() and self.has_embedding[target].any()):
            there -= {"caspr", "noise", "random_encoder", "mean_pool"}
        return [name for name, blocks in BLOCKS.items() if there.issuperset(blocks)]

    def matrix(self, name: str, positions: np.ndarray) -> np.ndarray:
        """[len(positions), columns] float32 of the representation `name`, or of PROFILE."""
        return np.hstack([self.blocks[block][positions] for block in BLOCKS.get(name, (name,))])


@dataclass
class ProfileValues:
    """Which values of the profile's categories have a column: learnt where is fitted, used wherever is scored."""

    commonest: dict[str, list[str]] = field(default_factory=dict)

    def fit(self, profiles: pd.DataFrame) -> ProfileValues:
        """Learn from the rows of customer_profiles that learners are fitted on."""
        for name in profiles.columns.drop([*KEYS, PROFILE_BEGAN_AT], errors="ignore"):
            if not _is_number(profiles[name]):
                counts = profiles[name].dropna().astype(str).value_counts()
                self.commonest[name] = sorted(counts.index, key=lambda value: (-counts[value], value))[:COMMONEST]
        return self

    def transform(self, profiles: pd.DataFrame) -> pd.DataFrame:
        """The keys, the numbers, and a column of 0 and 1 for each of the commonest values."""
        columns = {name: profiles[name] for name in profiles.columns if name not in (*self.commonest, PROFILE_BEGAN_AT)}
        for name, values in self.commonest.items():
            text = profiles[name].astype("string")
            # A null is none of the values, the empty text neither.
            columns |= {f"{name} {value}": (text == value).fillna(False).astype(np.float64) for value in values}
        return pd.DataFrame(columns)


def build(
    read: Read, condition: str, profile_values: ProfileValues | None, blocks: Sequence[str], seed: int = 1
) -> Representations:
    """Read the marts where `condition` holds and join them (left joins: what is missing stays NaN).

    `profile_values` None: learnt from the rows at hand. `blocks`: those that are wanted (values of BLOCKS, PROFILE).
    The noise is drawn by `seed`. Raises DataError when a key is there twice, or when vectors differ in width.
    """
    features = sort_by_key(read("rfm_features", condition), "rfm_features")
    rows = features[["customer_id", "cutoff_at"]]
    profiles = sort_by_key(read("customer_profiles", condition), "customer_profiles")
    values = profile_values or ProfileValues().fit(profiles)
    rfm, ignored = _numbers(features, rows)
    profile, _ = _numbers(values.transform(profiles), rows)
    found = {"rfm": np.hstack([rfm, profile]), PROFILE: profile}
    if "content" in blocks:
        found["content"], more = _numbers(sort_by_key(read("content_features", condition), "content_features"), rows)
        ignored += more
    has_embedding, version = np.zeros(len(rows), bool), None
    if {"caspr", "noise"} & set(blocks):
        vectors = latest_version(normalise_key(read("customer_embeddings", condition), "customer_embeddings"))
        version = None if vectors.empty else str(vectors["model_version"].iloc[0])
        found["caspr"], has_embedding = _vectors(vectors, rows, "customer_embeddings")
        # Drawn after sorting, so that a customer's noise does not depend on the order in which SQL returned the rows.
        found["noise"] = np.random.default_rng(seed).standard_normal(found["caspr"].shape, dtype=np.float32)
    if {"random_encoder", "mean_pool"} & set(blocks):
        controls = read("control_embeddings", condition)
        for control in ("random_encoder", "mean_pool"):
            of_kind = normalise_key(controls[controls["control"] == control], f"control_embeddings, {control}")
            found[control], _ = _vectors(latest_version(of_kind), rows, f"control_embeddings, {control}")
    always = ("rfm", PROFILE)
    kept = {name: block for name, block in found.items() if name in blocks and (block.shape[1] or name in always)}
    return Representations(rows, kept, has_embedding, version, ignored)


def build_profiles(read: Read, condition: str, profile_values: ProfileValues) -> Representations:
    """The rows of customers_without_activity where `condition` holds, with PROFILE as their one block: the columns that
    `build` makes of customer_profiles."""
    profiles = sort_by_key(read("customers_without_activity", condition), "customers_without_activity")
    rows = profiles[["customer_id", "cutoff_at"]]
    profile, ignored = _numbers(profile_values.transform(profiles), rows)
    return Representations(rows, {PROFILE: profile}, np.zeros(len(rows), bool), None, ignored)


def count_without_activity(read: Read, cutoff_at: pd.Timestamp) -> int:
    """How many rows customers_without_activity has at the cutoff, by the mart customer_counts."""
    counts = read("customer_counts", "")
    here = pd.to_datetime(counts["cutoff_at"]).astype("datetime64[us]") == cutoff_at
    return int(counts.loc[here, "customers_without_activity"].sum())


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


def latest_version(vectors: pd.DataFrame) -> pd.DataFrame:
    """The rows of the model version that was embedded last."""
    vectors = vectors[vectors["embedding"].notna()]
    if vectors.empty:
        return vectors
    version = vectors["model_version"].astype(str)
    if "embedded_at" not in vectors or version.nunique() == 1:
        return vectors
    embedded = vectors.groupby(version)["embedded_at"].max()
    return vectors[version == max(embedded.index, key=lambda one: (embedded[one], one))]


def _is_number(column: pd.Series) -> bool:
    """A boolean that nobody knows (has_profile of an undated profile) is none; only DuckDB would give it a type."""
    if pd.api.types.is_bool_dtype(column):
        return column.empty or column.notna().any()
    return pd.api.types.is_numeric_dtype(column)


def _places(frame: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """[len(rows)] where each row's key is in `frame`; -1 where it is not."""
    keys = frame[KEYS].assign(place=np.arange(len(frame)))
    return rows.merge(keys, how="left", on=KEYS)["place"].fillna(-1).to_numpy(np.int64)


def _numbers(features: pd.DataFrame, rows: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """[len(rows), columns] float32 of the numeric and boolean columns, and the names of the others."""
    names = [name for name in features.columns if name not in (*KEYS, FINGERPRINT)]
    columns = [name for name in names if _is_number(features[name])]
    matrix = np.empty((len(features), len(columns)), dtype=np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and inf is missing
        for place, name in enumerate(columns):
            matrix[:, place] = features[name].to_numpy(dtype=np.float64, na_value=np.nan)
    matrix[~np.isfinite(matrix)] = np.nan
    return _placed(matrix, _places(features, rows)), tuple(name for name in names if name not in columns)


def _vectors(vectors: pd.DataFrame, rows: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """[len(rows), width] float32 of a column of arrays, NaN where there is none, and [len(rows)] which have one."""
    if vectors.empty:
        return np.empty((len(rows), 0), np.float32), np.zeros(len(rows), bool)
    vectors = sort_by_key(vectors, name)
    stacked = stack(vectors["embedding"], name)
    stacked[~np.isfinite(stacked)] = np.nan
    places = _places(vectors, rows)
    return _placed(stacked, places), places >= 0


def _placed(matrix: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The rows of `matrix` at `places`, NaN for -1."""
    placed = np.full((len(places), matrix.shape[1]), np.nan, np.float32)
    placed[places >= 0] = matrix[places[places >= 0]]
    return placed

"""Which rows a learner sees, and which it is asked about: the same for every task.

1. Fit on the rows of the `train` cutoffs, score the customers of the `evaluate` cutoff: these scores are measured.
2. Fit again on the newest labels, those of as many cutoffs as before (with one train cutoff: of the evaluate cutoff),
   score the customers of the `score` cutoff: these are used.

No label of a cutoff is seen before the scores of that cutoff are made, and a label window that reaches past the cutoff
to be scored is never fitted on.

Cost: a forest of full-grown trees takes memory and time in proportion to the rows it is fitted on, so at most
`MAXIMUM_FIT_ROWS` of them are, drawn by a fixed seed; every customer is scored. A frame of scores takes about 100 bytes
a row: a million customers in two cutoffs, with four representations and two learners, are 16 million rows and 1.6 GB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from caspr_train.errors import DataError
from caspr_train.tasks import learners
from caspr_train.tasks.representations import CONTROLS, KEYS, Representations, build, normalise_key, sort_by_key

# So many rows of 128 columns took 3 CPU minutes a forest that classifies (about 0.2 GB of trees; regressing, 1 GB),
# and growing with rows x log(rows); a build fits 8 forests for churn and 16 for lifetime value.
MAXIMUM_FIT_ROWS = 100_000
SAMPLE_SEED = 20_210


@dataclass(frozen=True)
class Target:
    """One thing to predict: `label` of the labels (boolean or a number) becomes `score` of the scores."""

    label: str
    score: str
    is_boolean: bool


@dataclass(frozen=True)
class Round:
    """One fit: on the labels of `fit_cutoffs`, to score the customers of `cutoff_at`."""

    role: str
    cutoff_at: pd.Timestamp
    fit_cutoffs: list[pd.Timestamp]


def score(
    rfm_features: pd.DataFrame,
    customer_embeddings: pd.DataFrame,
    labels: pd.DataFrame,
    cutoffs: pd.DataFrame,
    targets: list[Target],
) -> pd.DataFrame:
    """Long scores: customer_id, cutoff_at, cutoff_role, learner, representation, is_control, one column a target, note.

    One row a customer, cutoff, learner and representation. Tables without rows give an empty frame of the same types.
    """
    representations = build(rfm_features, customer_embeddings)
    labels = sort_by_key(labels, "labels")
    labelled = _label_values(representations.rows, labels, targets)
    parts = []
    for turn in rounds(cutoffs, labels):
        at = representations.rows["cutoff_at"]
        target_rows = np.flatnonzero((at == turn.cutoff_at).to_numpy())
        fit_rows = np.flatnonzero(at.isin(turn.fit_cutoffs).to_numpy() & labelled["is_labelled"])
        if not len(target_rows) or not len(fit_rows):
            continue
        kept = _sample(fit_rows)
        for representation in representations.usable(kept, target_rows):
            x = representations.matrix(representation, kept)
            notes = _notes(representations, representation, len(fit_rows), kept, target_rows)
            for learner in learners.LEARNERS:
                columns, remarks = {}, []
                for target in targets:
                    y = labelled[target.score][kept]
                    reason = _why_base_rate(x, y, target)
                    predict = learners.base_rate(y) if reason else learners.fit(learner, x, y)
                    if reason:
                        remarks.append(f"{target.score} is the base rate: {reason}")
                    columns[target.score] = _predict(predict, representations, representation, target_rows)
                parts.append(
                    representations.rows.iloc[target_rows].assign(
                        cutoff_role=turn.role,
                        learner=learner,
                        representation=representation,
                        is_control=representation in CONTROLS,
                        **columns,
                        note="; ".join(notes + remarks),
                    )
                )
    return _typed(parts, targets)


def rounds(cutoffs: pd.DataFrame, labels: pd.DataFrame) -> list[Round]:
    """The fits to be made, in time order, from the mart `cutoffs` and the cutoffs that have labels.

    Raises DataError when a train cutoff's labels reach past the evaluate cutoff.
    """
    cutoffs = cutoffs.assign(
        cutoff_at=pd.to_datetime(cutoffs["cutoff_at"]).astype("datetime64[us]"),
        horizon_ends_at=pd.to_datetime(cutoffs["horizon_ends_at"]).astype("datetime64[us]"),
    ).sort_values("cutoff_at", ignore_index=True)
    known = cutoffs[cutoffs["cutoff_at"].isin(labels["cutoff_at"])]
    train = known[known["role"] == "train"]
    result = []
    for cutoff_at in cutoffs.loc[cutoffs["role"] == "evaluate", "cutoff_at"]:
        late = train[train["horizon_ends_at"] > cutoff_at]
        if len(late):
            raise DataError(
                f"cutoffs: labels of the train cutoff {late['cutoff_at'].iloc[0]} reach to "
                f"{late['horizon_ends_at'].iloc[0]}, expected to end by the evaluate cutoff {cutoff_at}; "
                "place the train cutoff at least one horizon earlier"
            )
        result.append(Round("evaluate", cutoff_at, list(train["cutoff_at"])))
    for cutoff_at in cutoffs.loc[cutoffs["role"] == "score", "cutoff_at"]:
        ended = known.loc[known["horizon_ends_at"] <= cutoff_at, "cutoff_at"]
        result.append(Round("score", cutoff_at, list(ended)[-max(1, len(train)) :]))
    return result


@dataclass(frozen=True)
class Evaluated:
    """What is known of one evaluate cutoff; all arrays are of the same customers, sorted by customer_id.

    labels: {label: [n]}, boolean or float64.
    scores: {(learner, representation): {score: [n] float64}}.
    notes: {(learner, representation): text}.
    """

    cutoff_at: pd.Timestamp
    customers: int
    labels: dict[str, np.ndarray]
    scores: dict[tuple[str, str], dict[str, np.ndarray]]
    notes: dict[tuple[str, str], str]


def evaluated(scores: pd.DataFrame, labels: pd.DataFrame, targets: list[Target]) -> list[Evaluated]:
    """Scores of the evaluate cutoffs beside their labels, in time order; empty where one of the two is missing."""
    scores = normalise_key(scores[scores["cutoff_role"] == "evaluate"], "scores")
    labels = sort_by_key(labels, "labels").dropna(subset=[target.label for target in targets])
    result = []
    for cutoff_at, at_cutoff in scores.groupby("cutoff_at"):
        known = labels[labels["cutoff_at"] == cutoff_at]
        customers = pd.Index(known["customer_id"])
        columns, notes = {}, {}
        for key, group in at_cutoff.groupby(["learner", "representation"]):
            place = customers.get_indexer(group["customer_id"])
            columns[key] = {target.score: np.full(len(known), np.nan) for target in targets}
            for target in targets:
                columns[key][target.score][place[place >= 0]] = group[target.score].to_numpy(np.float64)[place >= 0]
            notes[key] = _text(group["note"].iloc[0])
        is_scored = np.all([np.isfinite(one) for group in columns.values() for one in group.values()], axis=0)
        known = known[is_scored]
        truth = {one.label: known[one.label].to_numpy(bool if one.is_boolean else np.float64) for one in targets}
        columns = {key: {name: one[is_scored] for name, one in group.items()} for key, group in columns.items()}
        if len(known):
            result.append(Evaluated(cutoff_at, len(known), truth, columns, notes))
    return result


def _label_values(rows: pd.DataFrame, labels: pd.DataFrame, targets: list[Target]) -> dict[str, np.ndarray]:
    """Each target's label by row of `rows` ([n]), and `is_labelled` [n]: which rows have all of them, finite."""
    names = [target.label for target in targets]
    joined = rows.merge(labels[[*KEYS, *names]], how="left", on=KEYS)
    values = {target.score: joined[target.label].to_numpy(dtype=np.float64, na_value=np.nan) for target in targets}
    is_labelled = np.all([np.isfinite(value) for value in values.values()], axis=0)
    for target in targets:
        if target.is_boolean:
            values[target.score] = values[target.score] == 1
    return {**values, "is_labelled": is_labelled}


def _sample(rows: np.ndarray) -> np.ndarray:
    """The rows themselves or, where they are too many, a fixed draw of them in their order."""
    if len(rows) <= MAXIMUM_FIT_ROWS:
        return rows
    return np.sort(np.random.default_rng(SAMPLE_SEED).choice(rows, MAXIMUM_FIT_ROWS, replace=False))


def _predict(
    predict: learners.Predict, representations: Representations, representation: str, rows: np.ndarray
) -> np.ndarray:
    """[len(rows)] float64; the matrix is made chunk by chunk, never for all customers at once."""
    starts = range(0, len(rows), learners.CHUNK_ROWS)
    chunks = (rows[start : start + learners.CHUNK_ROWS] for start in starts)
    return np.concatenate([predict(representations.matrix(representation, chunk)) for chunk in chunks])


def _why_base_rate(x: np.ndarray, y: np.ndarray, target: Target) -> str:
    """Why nothing can be fitted, or an empty text."""
    if not x.shape[1]:
        return "no numeric feature"
    if target.is_boolean and (y.all() or not y.any()):
        return f"{target.label} is {str(bool(y[0])).lower()} in every row fitted on"
    return "only one row to fit on" if len(y) == 1 else ""


def _notes(
    representations: Representations, representation: str, labelled: int, fitted: np.ndarray, target_rows: np.ndarray
) -> list[str]:
    """What a reader of these scores has to know, in a few words each; nothing where all is as it should be."""
    notes = []
    if representations.model_version is not None and representations.usable(fitted, target_rows) == ["rfm"]:
        notes.append(f"embedding {representations.model_version} has no customer here; `caspr_train embed` adds them")
    if len(fitted) < labelled:
        notes.append(f"fitted on a sample of {len(fitted)} of {labelled} rows")
    if representation in ("caspr", "caspr_rfm"):
        notes.append(f"embedding {representations.model_version}")
        for rows, which in ((target_rows, "customers scored"), (fitted, "rows fitted on")):
            without = int((~representations.has_embedding[rows]).sum())
            if without:
                notes.append(f"{without} of {len(rows)} {which} have no embedding")
    if representations.ignored and representation != "caspr":
        notes.append(f"no numbers, so left out: {', '.join(representations.ignored)}")
    return notes


def _typed(parts: list[pd.DataFrame], targets: list[Target]) -> pd.DataFrame:
    """One frame whose types do not depend on whether it has rows: a database makes the same table of both."""
    types = {"customer_id": "string", "cutoff_at": "datetime64[us]", "cutoff_role": "string"}
    types |= {"learner": "string", "representation": "string", "is_control": "bool"}
    types |= {target.score: "float64" for target in targets} | {"note": "string"}
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})
    return pd.concat(parts, ignore_index=True)[list(types)].astype(types)


def _text(value: object) -> str:
    return "" if pd.isna(value) else str(value)

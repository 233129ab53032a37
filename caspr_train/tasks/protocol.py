"""Which rows a learner sees, and which it is asked about: the same for every task.

1. `evaluate`: fit on the rows of the `train` cutoffs, score the customers of the `evaluate` cutoff with known labels.
   These scores are measured. Customers who stand on both sides are split into folds by a hash of their key, and each is
   scored by learners that saw no row of it: what is measured is later in time and of other customers.
2. `score`: fit the champion on the newest labels, of as many cutoffs as before (with one train cutoff: the evaluate
   cutoff's), and score the customers of the `score` cutoff, chunk by chunk. These scores are used. Customers of whom
   no activity is known there, but a profile, are scored from the profile alone, by the same learner fitted on the
   profiles of the same rows: how good that is, nothing measures.

No label of a cutoff is seen before the scores of that cutoff are made, and a label window that reaches past the cutoff
to be scored is never fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool

import numpy as np
import pandas as pd

from caspr_train.errors import DataError
from caspr_train.tasks import bg_nbd, learners, sample
from caspr_train.tasks.frames import Read, champion, task_cutoffs
from caspr_train.tasks.representations import (
    BLOCKS,
    CONTROLS,
    KEYS,
    PROFILE,
    ProfileValues,
    Representations,
    build,
    build_profiles,
    count_without_activity,
    normalise_key,
    sort_by_key,
)

# Fewer labelled rows than this, or fewer of one class, are fitted on and said to be few.
FEW_LABELS = 50
# So many learners are fitted at a time.
SIDE_BY_SIDE = 2
# What is predicted with where nothing could be measured yet.
DEFAULT = ("lightgbm", "rfm")
WITHOUT_ACTIVITY = "no activity before the cutoff: scored from the profile alone, fitted on customers with activities"


@dataclass(frozen=True)
class Target:
    """One thing to predict: `label` of the labels (boolean or a number) becomes `score` of the scores."""

    label: str
    score: str
    is_boolean: bool


# {label: [n]} and {score: [n]} of the same customers -> {metric: (function of weights, remark)}, see metrics.py
Statistics = Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], dict[str, tuple]]


@dataclass(frozen=True)
class Task:
    """What is predicted from which labels, and how it is measured.

    name: as in model_performance. labels: the mart that holds them. headline: the metric that decides the champion.
    known_at: the column with the moment from which a label was known; a fit that scores an earlier instant is given the
    column `<label>_until_known` instead, or nothing where that is null. None: labels are known when their window ends.
    reported_at: the column with the moment of the first word of it; between that and known_at the label was false.
    carried: numbers of the labels' mart that `statistics` want beside the labels.
    of_purchases: which of the scores BG/NBD's frame (bg_nbd.SCORE_TYPES) gives, for the row `bg_nbd` of the table;
    without any there is no such row.
    """

    name: str
    labels: str
    targets: tuple[Target, ...]
    statistics: Statistics
    headline: str
    known_at: str | None = None
    reported_at: str | None = None
    carried: tuple[str, ...] = ()
    of_purchases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Round:
    """One fit: on the labels of `fit_cutoffs`, to score the customers of `cutoff_at`."""

    role: str
    cutoff_at: pd.Timestamp
    fit_cutoffs: list[pd.Timestamp]


@dataclass(frozen=True)
class Question:
    """What is asked at one evaluate cutoff, of the customers that the condition `measured` chooses.

    `read` gives no other customers than those of `marts`, where they are few of many (_of_labelled). `fit` and `target`
    are positions in `marts.rows`: rows to fit on and rows to score. `known` and `values` hold, by
    each target's score, what a fit may know and what is true, [rows].
    """

    turn: Round
    read: Read
    measured: str
    marts: Representations
    fit: np.ndarray
    target: np.ndarray
    known: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    is_same_cutoff: bool  # no label of a train cutoff was known: the rows to fit on are those to score

    def folds(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows to fit on, and the places in `target` that they score: never of one customer both."""
        return _folds(self.marts.rows["customer_id"], self.fit, self.target)

    def answer(
        self, task: Task, seed: int, learner: str, representation: str, scores: dict[str, np.ndarray], note: str
    ) -> pd.DataFrame:
        """The rows of an evaluation: `scores` are {score: [target]}."""
        return self.asked(task, seed).assign(
            learner=learner,
            representation=representation,
            is_control=representation in CONTROLS,
            **scores,
            note=note,
        )

    def asked(self, task: Task, seed: int) -> pd.DataFrame:
        """The target's keys, the seed and what is true."""
        truth = {one.label: self.values[one.score][self.target] for one in task.targets}
        truth |= {name: self.values[name][self.target] for name in task.carried}
        return self.marts.rows.iloc[self.target].assign(seed=seed, **truth)


def evaluate(read: Read, task: Task, seed: int = 1, representations: Sequence[str] = tuple(BLOCKS)) -> pd.DataFrame:
    """Long: the keys, seed, learner, representation, is_control, the labels and scores of the task's targets, note.

    One row a customer with a known label at an evaluate cutoff, learner and representation that the marts allow.
    `read` gives the marts rfm_features, customer_profiles, content_features, customer_embeddings, control_embeddings,
    cutoffs, customer_counts, label_counts, task_settings, rfm_scores and the task's labels. Marts without rows give an
    empty frame of the same types.
    """
    parts = []
    for question in questions(read, task, seed, representations):
        of_purchases, why_none = _of_purchases(read, question, task, question.asked(task, seed))
        usable = question.marts.usable(question.fit, question.target)
        jobs = [(name, learner) for name in usable if name in representations for learner in learners.LEARNERS]
        sizes = _sizes(read, task, question.turn)

        def answer(job: tuple[str, str], question: Question = question) -> tuple[dict[str, np.ndarray], list[str]]:
            return answer_by(question, task, *job, seed)

        # Of a few thousand rows one learner does not keep two cores busy. More side by side would ask for memory.
        # Its threads are daemons: who interrupts does not wait for fits that nobody wants any more.
        with ThreadPool(SIDE_BY_SIDE) as pool:
            for (name, learner), (scores, remarks) in zip(jobs, pool.imap(answer, jobs), strict=True):
                note = "; ".join(sizes + _notes(question, name) + why_none + remarks)
                parts.append(question.answer(task, seed, learner, name, scores, note))
        parts += of_purchases
    return evaluation(parts, task)


def questions(
    read: Read, task: Task, seed: int = 1, representations: Sequence[str] = tuple(BLOCKS)
) -> Iterator[Question]:
    """What `evaluate` asks, with all that these representations need; nothing where nothing can be fitted or scored."""
    for turn in rounds(read, task):
        if turn.role != "evaluate" or not turn.fit_cutoffs:
            continue
        known_at_fit, known_at_turn = labelled(read, task, turn.fit_cutoffs), labelled(read, task, [turn.cutoff_at])
        fitted = at_cutoffs(turn.fit_cutoffs, sample.sampled_in_sql(known_at_fit, _most(turn)))
        measured = at_cutoffs([turn.cutoff_at], sample.sampled_in_sql(known_at_turn))
        share = max(sample.share(known_at_fit, _most(turn)), sample.share(known_at_turn))
        labels = _labels(read, task, f"({fitted}) or ({measured})")
        of_labelled = _of_labelled(read, labels, share, len(turn.fit_cutoffs) + 1)
        blocks = sorted({block for name in representations for block in BLOCKS[name]})
        marts = build(of_labelled, f"({fitted}) or ({measured})", _profile_values(of_labelled, fitted), blocks, seed)
        values, known = _values(marts.rows, labels, task), _values(marts.rows, labels, task, turn.cutoff_at)
        at = marts.rows["cutoff_at"]
        target = np.flatnonzero((at == turn.cutoff_at).to_numpy() & values["is_labelled"])
        fit = np.flatnonzero(at.isin(turn.fit_cutoffs).to_numpy() & known["is_labelled"])
        is_same_cutoff = not len(fit) and task.known_at is not None
        if is_same_cutoff:
            fit, known = target, values
        # Where no attribute is money all revenue is 0: there is nothing to tell apart, and no row of the table.
        is_void = any(
            not one.is_boolean and not np.ptp(values[one.score][target]) for one in task.targets if len(target)
        )
        if len(target) and len(fit) and not is_void:
            yield Question(turn, of_labelled, measured, marts, fit, target, known, values, is_same_cutoff)


def answer_by(
    question: Question, task: Task, representation: str, learner: str, seed: int, most: int | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """{score: [target]} by a learner, and remarks; with `most`, of so many labels only, drawn by the seed."""
    scores = {one.score: np.empty(len(question.target)) for one in task.targets}
    remarks: list[str] = []
    for fold, (kept, asked) in enumerate(question.folds()):
        kept = few(kept, most, seed, fold)
        for one in task.targets:
            predict, why = _fit(question.marts, representation, learner, kept, question.known[one.score], one, seed)
            scores[one.score][asked] = predict(question.marts.matrix(representation, question.target[asked]))
            remarks += [why] if why and why not in remarks else []
            del predict  # or a second forest would be kept while the next one grows
    return scores, remarks


def few(rows: np.ndarray, most: int | None, seed: int, fold: int) -> np.ndarray:
    """`most` of the rows [n], drawn by (seed, fold), in their order; all of them if there are no more, or for None."""
    if most is None or most >= len(rows):
        return rows
    return np.sort(np.random.default_rng((seed, fold)).choice(rows, most, replace=False))


def evaluation(parts: Sequence[pd.DataFrame], task: Task) -> pd.DataFrame:
    """Answers, one below the other, of the types of an evaluation."""
    return _typed(list(parts), evaluation_types(task))


def score(read: Read, task: Task, seed: int = 1) -> pd.DataFrame:
    """One row a customer of the score cutoff: the keys, learner, representation, the scores of the targets, note.

    The champion of `model_leaderboard` is fitted on the newest labels. A customer without an embedding is scored from
    `rfm` (or `rfm_content`) if the champion wants one, and one without any activity from PROFILE; their rows say so.
    `read` as for `evaluate`, with model_leaderboard and customers_without_activity. Only a chunk of customers is held
    at a time.
    """
    learner, representation, remark = _champion(read, task)
    fallback = {"caspr": "rfm", "caspr_rfm": "rfm", "caspr_rfm_content": "rfm_content"}.get(representation)
    names = [representation, *([fallback] if fallback else [])]
    blocks = sorted({block for name in names for block in BLOCKS[name]})
    parts: list[pd.DataFrame] = []
    for turn in rounds(read, task):
        if turn.role != "score" or not turn.fit_cutoffs:
            continue
        known_at_fit = labelled(read, task, turn.fit_cutoffs)
        fitted = at_cutoffs(turn.fit_cutoffs, sample.sampled_in_sql(known_at_fit, _most(turn)))
        labels = _labels(read, task, fitted)
        share = sample.share(known_at_fit, _most(turn))
        of_labelled = _of_labelled(read, labels, share, len(turn.fit_cutoffs))
        profile_values = _profile_values(of_labelled, fitted)
        marts = build(of_labelled, fitted, profile_values, [*blocks, PROFILE], seed)
        known = _values(marts.rows, labels, task, turn.cutoff_at)
        fit = np.flatnonzero(known["is_labelled"])
        if not len(fit):
            continue
        fits = _Fits(marts, learner, fit, known, task, seed)
        for condition in _chunks(turn.cutoff_at, _customers(read)):
            chunk = build(read, condition, profile_values, blocks, seed)
            if len(chunk.rows):
                parts += _scored(chunk, fits, names, task, remark)
        for condition in _chunks(turn.cutoff_at, count_without_activity(read, turn.cutoff_at)):
            chunk = build_profiles(read, condition, profile_values)
            if len(chunk.rows):
                rows = np.arange(len(chunk.rows))
                parts.append(_answers(chunk, rows, PROFILE, fits, task, [WITHOUT_ACTIVITY, remark]))
    return _typed(parts, score_types(task))


def rounds(read: Read, task: Task) -> list[Round]:
    """The fits to be made, in time order, from the mart `cutoffs` and the horizon of the task.

    Raises DataError when a train cutoff's labels reach past the evaluate cutoff.
    """
    cutoffs = task_cutoffs(read, task.name)
    known = cutoffs[cutoffs["has_labels"]]
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


def evaluation_types(task: Task) -> dict[str, str]:
    """The columns of `evaluate`."""
    labels = {one.label: "bool" if one.is_boolean else "float64" for one in task.targets}
    labels |= dict.fromkeys(task.carried, "float64")
    scores = {one.score: "float64" for one in task.targets}
    keys = {"customer_id": "string", "cutoff_at": "datetime64[us]", "seed": "int64"}
    return keys | {"learner": "string", "representation": "string", "is_control": "bool"} | labels | scores | _NOTE


def score_types(task: Task) -> dict[str, str]:
    """The columns of `score`."""
    keys = {"customer_id": "string", "cutoff_at": "datetime64[us]", "learner": "string", "representation": "string"}
    return keys | {one.score: "float64" for one in task.targets} | _NOTE


_NOTE = {"note": "string"}


def _of_purchases(
    read: Read, question: Question, task: Task, rows: pd.DataFrame
) -> tuple[list[pd.DataFrame], list[str]]:
    """The same rows scored by BG/NBD, which knows dates and amounts of purchases only and needs no labels; remarks.

    None where the task is about something else, where the extra `btyd` is not installed, or where too few bought again.
    None, and a remark, where somebody has no score: all are measured on the same customers, and one learner more is not
    worth a customer less.
    """
    if not task.of_purchases or not bg_nbd.is_available():
        return [], []
    settings = read("task_settings", "")
    settings = settings[(settings["task"] == task.name) & settings["is_about_purchases"].astype(bool)]
    if settings.empty:
        return [], []
    scores = bg_nbd.bg_nbd_scores(
        question.read("rfm_scores", question.measured),
        int(settings["horizon_days"].iloc[0]),
        str(settings["rfm_period"].iloc[0]),
        read("rfm_scores", at_cutoffs([question.turn.cutoff_at], sample.sampled_in_sql(_customers(read)))),
    )
    mine = rows[KEYS].merge(scores, how="left", on=KEYS)
    if mine["churn_probability"].isna().all():
        return [], []
    columns = {one.score: np.full(len(rows), np.nan) for one in task.targets}
    columns |= {name: mine[name].to_numpy() for name in task.of_purchases}
    without = int((~np.isfinite([columns[name] for name in task.of_purchases]).all(axis=0)).sum())
    if without:
        missing = f"{' or '.join(task.of_purchases)} of {without} of {len(rows)} customers"
        return [], [f"bg_nbd is not measured: it gives no finite {missing}"]
    known = {"learner": "bg_nbd", "representation": "rfm", "is_control": False, "note": mine["note"].to_numpy()}
    return [rows.assign(**columns, **known)], []


def _customers(read: Read) -> int:
    """How many customers the largest cutoff has."""
    counts = read("customer_counts", "")["customers"]
    return int(counts.max()) if len(counts) else 0


def labelled(read: Read, task: Task, cutoffs: Sequence[pd.Timestamp]) -> int:
    """How many customers have a label of the task at that of the cutoffs which has the most: of so many a sample is
    drawn, and not of all customers, most of whom may have none (at_risk_days, fraud.only_reported)."""
    counts = read("label_counts", "")
    at = pd.to_datetime(counts["cutoff_at"]).astype("datetime64[us]")
    mine = counts.loc[(counts["task"] == task.name) & at.isin(list(cutoffs)), "customers"]
    return int(mine.max()) if len(mine) else 0


def _most(turn: Round) -> int:
    """How many customers are fitted on: rows of several cutoffs together are as many as those of one."""
    return sample.MAXIMUM_CUSTOMERS // len(turn.fit_cutoffs)


def at_cutoffs(cutoffs: Sequence[pd.Timestamp], sampled: str = "") -> str:
    """The condition in SQL: a row of one of the cutoffs, and of a customer whom the condition `sampled` chooses."""
    instants = ", ".join(f"cast('{at.isoformat(' ', 'microseconds')}' as timestamp)" for at in cutoffs)
    return f"cutoff_at in ({instants})" + (f" and {sampled}" if sampled else "")


def _chunks(cutoff_at: pd.Timestamp, customers: int) -> Iterator[str]:
    """Conditions in SQL that part the customers of a cutoff, of whom there are `customers`."""
    for part in sample.parts_in_sql(customers, learners.CHUNK_ROWS):
        yield at_cutoffs([cutoff_at], part)


def _labels(read: Read, task: Task, condition: str) -> pd.DataFrame:
    return sort_by_key(read(task.labels, condition), task.labels)


def _of_labelled(read: Read, labels: pd.DataFrame, share: float, cutoffs: int) -> Read:
    """`read`, of those customers alone who are in `labels`, a piece of this share of all customers after the other.

    Where few of many have a label, all others whom the hash chooses at so many `cutoffs` would not fit into memory.
    """
    customers = _customers(read)
    if customers * share * cutoffs <= 3 * sample.MAXIMUM_CUSTOMERS:
        return read

    def read_labelled(name: str, condition: str) -> pd.DataFrame:
        if not condition:
            return read(name, condition)
        pieces = []
        for part in sample.parts_in_sql(customers, max(1, learners.CHUNK_ROWS // cutoffs), share):
            rows = read(name, f"({condition})" + (f" and {part}" if part else ""))
            pieces.append(normalise_key(rows, name).merge(labels[KEYS], on=KEYS))
        return pd.concat([piece for piece in pieces if len(piece)] or pieces[:1], ignore_index=True)

    return read_labelled


def _profile_values(read: Read, fitted: str) -> ProfileValues:
    return ProfileValues().fit(normalise_key(read("customer_profiles", fitted), "customer_profiles"))


def _values(
    rows: pd.DataFrame, labels: pd.DataFrame, task: Task, known_by: pd.Timestamp | None = None
) -> dict[str, np.ndarray]:
    """Each target's label by row of `rows` ([n]), and `is_labelled` [n]: which rows have all of them, finite.

    What is carried is there by its own name. `known_by`: only what was known before it; None: all that is known today.
    """
    joined = rows.merge(labels, how="left", on=KEYS)

    def column(name: str) -> np.ndarray:
        return joined[name].to_numpy(dtype=np.float64, na_value=np.nan)

    values = {one.score: column(one.label) for one in task.targets}
    if known_by is not None and task.known_at is not None:

        def is_before(name: str) -> np.ndarray:
            return (pd.to_datetime(joined[name]).astype("datetime64[us]") < known_by).to_numpy()

        for one in task.targets:
            until_known = column(f"{one.label}_until_known")
            if task.reported_at is not None:
                until_known = np.where(is_before(task.reported_at), 0.0, until_known)
            values[one.score] = np.where(is_before(task.known_at), values[one.score], until_known)
    is_labelled = np.all([np.isfinite(value) for value in values.values()], axis=0)
    values |= {name: column(name) for name in task.carried}
    for target in task.targets:
        if target.is_boolean:
            values[target.score] = values[target.score] == 1
    return {**values, "is_labelled": is_labelled}


def _folds(customers: pd.Series, fit: np.ndarray, target: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on, and the places in `target` that they score: never of one customer both."""
    is_shared = customers.iloc[fit].isin(customers.iloc[target]).to_numpy()
    if not is_shared.any():
        yield fit, np.arange(len(target))
        return
    fold_of_fit, fold_of_target = sample.folds(customers.iloc[fit]), sample.folds(customers.iloc[target])
    for fold in range(sample.FOLDS):
        asked = np.flatnonzero(fold_of_target == fold)
        if len(asked):
            yield fit[~is_shared | (fold_of_fit != fold)], asked


def _fit(
    marts: Representations,
    representation: str,
    learner: str,
    rows: np.ndarray,
    y: np.ndarray,
    target: Target,
    seed: int,
) -> tuple[learners.Predict, str]:
    """A fitted learner and an empty text; or one score for everybody, and why."""
    x, y = marts.matrix(representation, rows), y[rows]
    why = _why_base_rate(x, y, target)
    if why:
        return learners.base_rate(y), f"{target.score} is the base rate: {why}"
    customers = marts.rows["customer_id"].iloc[rows]
    few, kind = (min(y.sum(), (~y).sum()), " of the rarer kind") if target.is_boolean else (len(y), "")
    remark = f"{target.score} rests on {few} labels{kind}, and is unsure" if few < FEW_LABELS else ""
    return learners.fit(learner, x, y, customers, seed), remark


@dataclass
class _Fits:
    """The learner fitted on `rows` of the marts, by representation: when the first customer is scored from it.

    A forest takes minutes, and mostly nobody lacks an embedding.
    """

    marts: Representations
    learner: str
    rows: np.ndarray
    known: dict[str, np.ndarray]
    task: Task
    seed: int
    made: dict[str, list[tuple[learners.Predict, str]]] = field(default_factory=dict)

    def of(self, name: str) -> list[tuple[learners.Predict, str]]:
        """What `_fit` gives, for each target of the task."""
        if name not in self.made:
            self.made[name] = [
                _fit(self.marts, name, self.learner, self.rows, self.known[one.score], one, self.seed)
                for one in self.task.targets
            ]
        return self.made[name]


def _why_base_rate(x: np.ndarray, y: np.ndarray, target: Target) -> str:
    """Why nothing can be fitted, or an empty text."""
    if not len(y):
        return "no other customer to fit on"
    if not x.shape[1]:
        return "no numeric feature"
    if target.is_boolean and (y.all() or not y.any()):
        return f"{target.label} is {str(bool(y[0])).lower()} in every row fitted on"
    return "only one row to fit on" if len(y) == 1 else ""


def _champion(read: Read, task: Task) -> tuple[str, str, str]:
    """Learner, representation and a remark, from model_leaderboard."""
    mine = champion(read, task.name)
    if mine is None:
        return *DEFAULT, f"no champion yet: {task.headline} was not measured, or is not defined where it was"
    return str(mine["learner"]), str(mine["representation"]), ""


def _scored(chunk: Representations, fits: _Fits, names: list[str], task: Task, remark: str) -> Iterator[pd.DataFrame]:
    """The rows of a chunk: those that the champion can score, then the others, scored by the fallback."""
    is_left = np.ones(len(chunk.rows), bool)
    for name in names:
        wants_embedding = "caspr" in BLOCKS[name]
        if not set(BLOCKS[name]) <= set(fits.marts.blocks) & set(chunk.blocks):
            continue
        rows = np.flatnonzero(is_left & chunk.has_embedding if wants_embedding else is_left)
        is_left[rows] = False
        if not len(rows):
            continue
        why = f"no embedding, so not scored from {names[0]}" if name != names[0] else ""
        yield _answers(chunk, rows, name, fits, task, [remark, why])


def _answers(
    chunk: Representations,
    rows: np.ndarray,
    name: str,
    fits: _Fits,
    task: Task,
    notes: list[str],
) -> pd.DataFrame:
    """Rows (positions) of the chunk, scored from `name` by what was fitted for each target."""
    x, fitted = chunk.matrix(name, rows), fits.of(name)
    columns = {one.score: predict(x) for one, (predict, _) in zip(task.targets, fitted, strict=True)}
    said = filter(None, dict.fromkeys([*notes, *(why for _, why in fitted)]))
    return chunk.rows.iloc[rows].assign(learner=fits.learner, representation=name, **columns, note="; ".join(said))


def _sizes(read: Read, task: Task, turn: Round) -> list[str]:
    """Of how many customers a sample was drawn, where it was."""
    notes = []
    for what, cutoffs, most in (
        ("fitted on", turn.fit_cutoffs, _most(turn)),
        ("measured on", [turn.cutoff_at], sample.MAXIMUM_CUSTOMERS),
    ):
        customers = labelled(read, task, cutoffs)
        if customers > most:
            notes.append(f"{what} about {most:,} of {customers:,} customers with a label, chosen by a hash of the key")
    return notes


def _notes(question: Question, representation: str) -> list[str]:
    """What a reader of these scores has to know, in a few words each; nothing where all is as it should be."""
    marts, fit, target = question.marts, question.fit, question.target
    notes = []
    if question.is_same_cutoff:
        notes.append("no label was known of a train cutoff, so fitted on other customers of the same cutoff")
    if marts.model_version is not None and "caspr" not in marts.usable(fit, target):
        notes.append(f"embedding {marts.model_version} has no customer here; `caspr_train embed` adds them")
    if "caspr" in BLOCKS[representation]:
        notes.append(f"embedding {marts.model_version}")
        for rows, which in ((target, "customers scored"), (fit, "rows fitted on")):
            without = int((~marts.has_embedding[rows]).sum())
            if without:
                notes.append(f"{without} of {len(rows)} {which} have no embedding")
    if marts.ignored and representation != "caspr":
        notes.append(f"no numbers, so left out: {', '.join(marts.ignored)}")
    return notes


def _typed(parts: list[pd.DataFrame], types: dict[str, str]) -> pd.DataFrame:
    """One frame whose types do not depend on whether it has rows: a database makes the same table of both."""
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})
    return pd.concat(parts, ignore_index=True)[list(types)].astype(types)

"""`caspr_train finetune`: the encoder trained on with the labels of a task, measured like every other representation.

A bundle's encoder gets a head that also sees RFM, profile and content, and both learn the labels of the train cutoffs
end to end. Customers are parted into folds as in tasks.protocol, so its row of the table is comparable with the others.
Beside it stands what becomes of each with few labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from caspr_train.bundle import Bundle
from caspr_train.distributed import Processes, launch
from caspr_train.errors import DataError, UsageError
from caspr_train.evaluation import FINETUNED, evaluations_table
from caspr_train.files import whole
from caspr_train.finetuner import BUNDLE, SIDES, Fit, fine_tune, write_plan
from caspr_train.runs import Marts, PackedCutoff
from caspr_train.scoring import TASKS, answers
from caspr_train.tasks import learners, protocol
from caspr_train.tasks.frames import Read
from caspr_train.tasks.protocol import Question, Target, Task

LEARNER, REPRESENTATION = FINETUNED, "caspr_finetuned"
FEATURES = ("rfm_content", "rfm")  # what the head sees beside the vector: the first of these that there is
COMPARED = ("rfm", "caspr", "caspr_rfm")  # in the curve


@dataclass(frozen=True)
class Finetuned:
    """evaluation: as of protocol.evaluate, with LEARNER and REPRESENTATION beside the others. curve: the headline
    metric by task, cutoff_at, labels (as many were fitted on at most), learner and representation: seeds, value (mean)
    and standard_error (of the mean over seeds; NaN of one)."""

    evaluation: pd.DataFrame
    curve: pd.DataFrame


def task_of(name: str) -> Task:
    """UsageError: there is no such task."""
    for task in TASKS:
        if task.name == name:
            return task
    raise UsageError(f"--task {name}: expected one of {', '.join(task.name for task in TASKS)}")


def finetune(
    read: Read,
    marts: Marts,
    bundle: Bundle,
    task: Task,
    seeds: Sequence[int],
    sizes: Sequence[int],
    processes: Processes,
    folder: Path,
) -> Finetuned:
    """Fine-tune and compare, with each seed anew; `read` gives marts and the bundle's vectors (evaluation.reading),
    `folder` takes what is on the way.

    A seed draws the head, the order of the rows, what is dropped out, and which labels are the few of each of `sizes`.
    DataError: no labels are known, or a customer of the marts has no sequence.
    """
    parts: list[pd.DataFrame] = []
    values: list[dict] = []
    for seed in seeds:
        print(f"seed {seed}, {len(parts) + 1} of {len(seeds)}", flush=True)
        evaluation = protocol.evaluate(read, task, seed)
        own = []
        for place, question in enumerate(protocol.questions(read, task, seed, (*FEATURES, *COMPARED))):
            work = folder / f"{seed}-{place}"
            answers = _answers(question, marts, bundle, task, seed, sizes, processes, work)
            scores, note = answers[None]
            own.append(question.answer(task, seed, LEARNER, REPRESENTATION, scores, note))
            values += _of_few(question, task, seed, sizes, answers)
        if not own:
            raise DataError(
                f"{task.labels}: no labels are known at a train and an evaluate cutoff; expected some to fit on and to "
                "measure with: do horizon_days and as_of suit this data?"
            )
        evaluation = pd.concat([evaluation, protocol.evaluation(own, task)], ignore_index=True)
        values += _of_all(evaluation, task, seed)
        parts.append(evaluation)
    return Finetuned(pd.concat(parts, ignore_index=True), _curve(pd.DataFrame(values), task))


Answers = dict[int | None, tuple[dict[str, np.ndarray], str]]  # {labels, None for all: ({score: [target]}, note)}


def _answers(
    question: Question,
    marts: Marts,
    bundle: Bundle,
    task: Task,
    seed: int,
    sizes: Sequence[int],
    processes: Processes,
    work: Path,
) -> Answers:
    """The scores of the question's target by fine-tuned models, for each number of labels: all models in one launch."""
    features = next(name for name in FEATURES if set(protocol.BLOCKS[name]) <= set(question.marts.blocks))
    everybody = np.arange(len(question.marts.rows))
    work.mkdir(parents=True)
    bundle.save(work / BUNDLE)
    np.save(work / "features.npy", question.marts.matrix(features, everybody))
    side, sequence = _sequences(question, marts, work)
    np.save(work / "side.npy", side)
    np.save(work / "sequence.npy", sequence)
    fits: list[Fit] = []
    answers: Answers = {}
    waiting: list[tuple[np.ndarray, np.ndarray, str]] = []
    for target in task.targets:
        np.save(work / f"{target.score}.npy", question.known[target.score])
    for most in (None, *sizes):
        scores = {one.score: np.empty(len(question.target)) for one in task.targets}
        remarks = [f"embedding {bundle.model_version}", f"head on {features}"]
        for fold, (kept, asked) in enumerate(question.folds()):
            kept = protocol.few(kept, most, seed, fold)
            for one in task.targets:
                labels = question.known[one.score][kept]
                if why := _why_base_rate(labels, one):
                    scores[one.score][asked] = learners.base_rate(labels)(asked)
                    remarks += [f"{one.score} is the base rate: {why}"]
                    continue
                fits.append(Fit(f"{most or 'all'}-{fold}-{one.score}", one.score, one.is_boolean, seed))
                np.savez(work / f"{fits[-1].name}.npz", fit=kept, asked=question.target[asked])
                waiting.append((scores[one.score], asked, fits[-1].name))
        answers[most] = scores, "; ".join(dict.fromkeys(remarks))
    write_plan(work, fits)
    launch(fine_tune, processes, work, work)
    for into, asked, name in waiting:
        into[asked] = np.load(work / f"{name}-scores.npy")
    return answers


def _why_base_rate(labels: np.ndarray, target: Target) -> str:
    if len(labels) < 2:
        return "fewer than two rows to fit on"
    if target.is_boolean and (labels.all() or not labels.any()):
        return f"{target.label} is {str(bool(labels[0])).lower()} in every row fitted on"
    return ""


def _sequences(question: Question, marts: Marts, work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Which of SIDES each row's sequence lies in, and where, [rows] each; links to both in `work`."""
    rows = question.marts.rows
    at = rows["cutoff_at"].to_numpy()
    asked = next(
        cutoff
        for cutoff in marts.cutoffs
        if cutoff.role == "evaluate" and pd.Timestamp(cutoff.cutoff_at) == question.turn.cutoff_at
    )
    side, sequence = np.zeros(len(rows), np.int64), np.full(len(rows), -1, np.int64)
    for place, packed in enumerate((marts.train, asked)):
        (work / SIDES[place]).symlink_to(packed.folder.resolve())
        for cutoff_at in np.unique(at):
            mine = np.flatnonzero((at == cutoff_at) & (sequence < 0))
            sequence[mine] = _places(packed, pd.Timestamp(cutoff_at), rows["customer_id"].iloc[mine])
            side[mine] = place
    if (sequence < 0).any():
        first = rows.iloc[int(np.flatnonzero(sequence < 0)[0])]
        raise DataError(
            f"activity_sequences has no customer {first['customer_id']!r} at {first['cutoff_at']}, rfm_features has; "
            "expected both of one build: run `dbt build`"
        )
    return side, sequence


def _places(packed: PackedCutoff, cutoff_at: pd.Timestamp, customers: pd.Series) -> np.ndarray:
    """[len(customers)] which packed sequence is theirs at the cutoff; -1 for none. Keys are read a batch at a time."""
    found, first = np.full(len(customers), -1, np.int64), 0
    wanted = pa.array(customers.astype(str), pa.string())
    for batch in packed.keys.to_batches():
        here = np.asarray(pc.equal(batch["cutoff_at"], pa.scalar(cutoff_at, pa.timestamp("us"))))
        asked = np.asarray(pc.fill_null(pc.index_in(batch["customer_id"], value_set=wanted), -1))
        known = np.flatnonzero(here & (asked >= 0))
        found[asked[known]] = known + first
        first += len(batch)
    return found


def _of_few(question: Question, task: Task, seed: int, sizes: Sequence[int], answers: Answers) -> list[dict]:
    """Rows of the curve with few labels: of the fine-tuned one, and of every learner on what it is compared with."""
    rows = []
    there = question.marts.usable(question.fit, question.target)
    asked = question.asked(task, seed)
    truth = {name: asked[name].to_numpy() for name in asked.columns}
    for most in sizes:
        found = {(LEARNER, REPRESENTATION): answers[most][0]}
        for learner in learners.LEARNERS:
            for name in (name for name in COMPARED if name in there):
                found[learner, name] = protocol.answer_by(question, task, name, learner, seed, most)[0]
        for key, scores in found.items():
            rows.append(_row(question.turn.cutoff_at, str(most), *key, seed, _headline(task, truth, scores)))
    return rows


def _of_all(evaluation: pd.DataFrame, task: Task, seed: int) -> list[dict]:
    rows = []
    for (cutoff_at, learner, name), group in evaluation.groupby(["cutoff_at", "learner", "representation"], sort=False):
        if name in (*COMPARED, REPRESENTATION):
            columns = {column: group[column].to_numpy() for column in group.columns}
            rows.append(_row(cutoff_at, "all", learner, name, seed, _headline(task, columns, columns)))
    return rows


def _row(cutoff_at: pd.Timestamp, labels: str, learner: str, name: str, seed: int, value: float) -> dict:
    return {
        "cutoff_at": cutoff_at,
        "labels": labels,
        "learner": learner,
        "representation": name,
        "seed": seed,
        "value": value,
    }


def _headline(task: Task, labels: dict[str, np.ndarray], scores: dict[str, np.ndarray]) -> float:
    statistic, _ = task.statistics(labels, scores)[task.headline]
    return float(statistic(np.ones(len(next(iter(scores.values()))))))


def _curve(values: pd.DataFrame, task: Task) -> pd.DataFrame:
    keys = ["cutoff_at", "labels", "learner", "representation"]
    grouped = values.groupby(keys, sort=False)["value"]
    curve = grouped.agg(seeds="size", value="mean", standard_error="sem").reset_index()
    return curve.assign(task=task.name, metric=task.headline)


def curve_text(curve: pd.DataFrame) -> str:
    """A line a learner and representation, a column a number of labels."""
    blocks = []
    for cutoff_at, block in curve.groupby("cutoff_at"):
        columns = sorted(block["labels"].unique(), key=lambda text: (text == "all", len(text), text))
        seeds = int(block["seeds"].max())
        lines = [["learner", "representation", *(f"{name} labels" for name in columns)]]
        for (learner, name), mine in block.groupby(["learner", "representation"], sort=False):
            found = {row.labels: f"{100 * row.value:.1f} ± {100 * row.standard_error:.1f}" for row in mine.itertuples()}
            lines.append([learner, name, *(found.get(column, "") for column in columns)])
        widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
        text = [
            f"{block['task'].iloc[0]} at {cutoff_at:%Y-%m-%d}: {block['metric'].iloc[0]} x 100, mean of {seeds} seeds"
        ]
        text[0] += " ± standard error" if seeds > 1 else ""
        for line in lines:
            cells = [
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            text.append("  ".join(cells).rstrip())
        blocks.append("\n".join(text).replace(" ± nan", ""))
    return "\n\n".join(blocks)


def write(found: Finetuned, run: Path, task: Task) -> list[Path]:
    """The fine-tuned model's scores as Parquet and the curve as JSON, in the run's folder."""
    scores, curve = run / f"finetuned_{task.name}.parquet", run / f"finetuned_{task.name}_curve.json"
    with whole(scores) as draft:
        found.evaluation[found.evaluation["learner"] == LEARNER].to_parquet(draft, index=False)
    with whole(curve) as draft:
        draft.write_text(json.dumps(json.loads(found.curve.to_json(orient="records", date_format="iso")), indent=1))
    return [scores, curve]


def evaluations(
    found: Finetuned, task: Task, known: pd.DataFrame, model_version: str, asked: dict[str, str]
) -> pa.Table:
    """The rows of model_evaluations after this: those `known` of this model, and the fine-tuned one's, new.

    Only where a cutoff has no others yet do those that were measured here stand beside it: their seeds are of learners
    on the vectors of one training, and must not take the place of what `caspr_train evaluate` measured over trainings.
    `asked`: {task: settings_hash}; what was measured when the task asked something else stays as it is.
    """
    from caspr_train.tasks.performance import performance

    known = known[known["model_version"] == model_version]
    is_here = (known["task"] == task.name) & answers(known, asked)
    is_own = is_here & (known["learner"] == LEARNER)
    measured_at = known.loc[is_here & ~is_own, "cutoff_at"]
    mine = performance(found.evaluation, task)
    mine = mine[(mine["learner"] == LEARNER) | ~mine["cutoff_at"].isin(measured_at)]
    mine = mine.assign(model_version=model_version, settings_hash=asked[task.name])
    return evaluations_table(known[~is_own], mine)

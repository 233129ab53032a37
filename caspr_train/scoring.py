"""What dbt's Python models do, for warehouses that run none: marts in, tables of what they make out."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from caspr_train.errors import UsageError
from caspr_train.project import DbtProject
from caspr_train.tasks import neighbours, protocol, recommendation, segments
from caspr_train.tasks.churn import CHURN
from caspr_train.tasks.fraud import FRAUD
from caspr_train.tasks.lifetime_value import LIFETIME_VALUE
from caspr_train.tasks.performance import performance
from caspr_train.warehouse import Reader

TASKS = (CHURN, LIFETIME_VALUE, FRAUD)


def expect_no_python_models(project: DbtProject) -> None:
    """Raise UsageError where dbt scores by itself: a second table of scores would be read by nobody."""
    if project.scores_by_itself():
        raise UsageError(
            f"target {project.target} is of type {project.credentials.type}, where dbt runs the Python models that "
            "score: run `dbt build --select source:caspr_trained+` instead"
        )


def score_tables(reader: Reader) -> dict[str, pa.Table]:
    """The tables by name, from the marts; the same functions as python_models/*.py call. Raises DataError."""

    def read(name: str, condition: str = "") -> pd.DataFrame:
        if name == "model_leaderboard":
            return leaderboard
        return reader.mart(name, condition).to_pandas()

    frames, measured, asked = {}, [], reader.settings_hashes()
    for task in TASKS:
        frames[f"{task.name}_evaluation"] = evaluation = protocol.evaluate(read, task)
        frames[f"{task.name}_performance"] = mine = performance(evaluation, task)
        measured.append(mine)
    frames["recommendation_evaluation"] = evaluation = recommendation.evaluate(read)
    frames["recommendation_performance"] = mine = recommendation.performance(evaluation)
    measured.append(mine)
    evaluations = reader.evaluations().to_pandas()
    evaluations = evaluations[evaluations["model_version"] == reader.shown_version()]
    leaderboard = _leaderboard(
        pd.concat(measured, ignore_index=True),
        evaluations[answers(evaluations, asked)],
        reader.project.published("model_leaderboard", "champions"),
    )
    for task in TASKS:
        frames[f"{task.name}_scores"] = protocol.score(read, task)
    frames["recommendation_scores"] = recommendation.score(read)
    frames["segment_assignments"] = assignments = segments.segments(read)
    frames["segment_differences"] = segments.differences(assignments, read)
    frames["nearest_customers"] = neighbours.similar(read)
    for of_task, settings_hash in asked.items():
        for name in [f"{of_task}_evaluation", f"{of_task}_performance", f"{of_task}_scores"]:
            frame = frames[name]
            frames[name] = frame.assign(settings_hash=pd.Series(settings_hash, index=frame.index, dtype="string"))
    return {name: arrow_table(frame) for name, frame in frames.items()}


def answers(evaluations: pd.DataFrame, asked: dict[str, str]) -> pd.Series:
    """[n] bool: which rows of model_evaluations say something of what is `asked` now, {task: settings_hash}."""
    return evaluations["settings_hash"] == evaluations["task"].map(asked)


def _leaderboard(measured: pd.DataFrame, evaluations: pd.DataFrame, configured: dict) -> pd.DataFrame:
    """task, learner and representation, as models/predictions/model_leaderboard.sql works them out later."""
    known, once = _measurements(evaluations), _measurements(measured)
    both = pd.concat([measured[~once.isin(known)], evaluations[known.isin(once)]], ignore_index=True)
    names = ["task", "learner", "representation"]
    champions = both[both["is_headline"].astype(bool) & both["is_champion"].astype(bool)][names]
    chosen = [{"task": task, **choice} for task, choice in configured.items()]
    return pd.concat(
        [champions[~champions["task"].isin(configured)], pd.DataFrame(chosen, columns=names)], ignore_index=True
    )


def _measurements(performance: pd.DataFrame) -> pd.MultiIndex:
    """(task, cutoff, newest cutoff of the task) of each row: the champion stands at the newest."""
    cutoff_at = pd.to_datetime(performance["cutoff_at"]).astype("datetime64[us]")
    newest = cutoff_at.groupby(performance["task"]).transform("max")
    return pd.MultiIndex.from_arrays([performance["task"].astype("string"), cutoff_at, newest])


def arrow_table(frame: pd.DataFrame) -> pa.Table:
    """With text as plain strings and times in microseconds, as every warehouse takes them."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    for place, field in enumerate(table.schema):
        if pa.types.is_large_string(field.type):
            table = table.set_column(place, field.name, table[place].cast(pa.string()))
        elif pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table[place].cast(pa.timestamp("us")))
    return table

"""The long performance table as text for a terminal, in the spirit of the paper's Tables 4 to 7: a block a task."""

from __future__ import annotations

import math

import pandas as pd

from caspr_train.tasks.candidates import CANDIDATES
from caspr_train.tasks.representations import BLOCKS, CONTROLS

LEARNERS = ["random_forest", "lightgbm"]
IN_POINTS = ("auroc", "f1")  # shown times 100
IN_UNITS = ("rmse", "mae")  # shown with one decimal; all others with three


def performance_table(performance: pd.DataFrame) -> str:
    """One block a task and evaluate cutoff, one line a learner and representation.

    Of the headline metric `value ± standard error` and the differences to `rfm` and to the best control, each with its
    95 % interval; of the others `value ± standard error`. A star marks the champion. What the embedding adds to the
    engineered features, `caspr_rfm_content` less `rfm_content`, stands in a line below: one more column would make all
    lines too long. The argument has the columns of `model_performance` and may come from any SQL client, in any order
    of rows.
    """
    if performance.empty:
        return "No performance yet: no customers with known labels at an evaluate cutoff."
    rows = performance.assign(cutoff_at=pd.to_datetime(performance["cutoff_at"]))
    blocks = [_block(task, cutoff_at, block) for (cutoff_at, task), block in rows.groupby(["cutoff_at", "task"])]
    legend = (
        "auroc and f1 in points (x100). ± is one bootstrap standard error over customers (and seeds); in brackets the\n"
        "95 % interval of a paired bootstrap. Fitted on other customers than those measured and, unless a note says\n"
        "otherwise, on earlier cutoffs. * is the champion: the simplest representation that nothing beats\n"
        "significantly. Below the line: controls, which are never predicted with."
    )
    return "\n\n".join([*blocks, legend, *filter(None, ["\n".join(_notes(rows))])])


def _block(task: str, cutoff_at: pd.Timestamp, rows: pd.DataFrame) -> str:
    headline = sorted(rows.loc[rows["is_headline"].astype(bool), "metric"].unique())
    metrics = headline + [name for name in rows["metric"].unique() if name not in headline]
    metrics[len(headline) :] = sorted(metrics[len(headline) :])
    lines = [["", "learner", "representation", *_titles(metrics, headline, rows)]]
    controls: list[list[str]] = []
    keys = sorted(set(zip(rows["learner"], rows["representation"], strict=True)), key=_order)
    for learner, representation in keys:
        mine = rows[(rows["learner"] == learner) & (rows["representation"] == representation)].set_index("metric")
        cells = ["*" if mine["is_champion"].astype(bool).any() else "", learner, representation]
        for metric in metrics:
            known = metric in mine.index
            cells.append(_value(metric, mine.loc[metric]) if known else "")
            if metric in headline:
                cells += [_difference(metric, mine.loc[metric], to) if known else "" for to in _compared(rows)]
        (controls if _is_control(representation) else lines).append(cells)
    widths = [max(len(line[place]) for line in lines + controls) for place in range(len(lines[0]))]
    rule = "  ".join("-" * width for width in widths)
    text = [_aligned(line, widths) for line in lines]
    text.insert(1, rule)
    if controls:
        text += [rule, *(_aligned(line, widths) for line in controls)]
    text += _over_content(keys, headline, rows)
    seeds = int(rows["seeds"].max())
    many = f"{int(rows['customers'].iloc[0]):,} customers, {seeds} seed{'s' if seeds > 1 else ''}"
    return "\n".join([f"{task} at {cutoff_at:%Y-%m-%d}, {many}", *text])


def _over_content(keys: list[tuple[str, str]], headline: list[str], rows: pd.DataFrame) -> list[str]:
    """In one line what the embedding adds to the engineered features, by learner; no line where that is unknown."""
    name, known = "caspr_rfm_content", []
    for learner in (learner for learner, representation in keys if representation == name):
        mine = rows[(rows["learner"] == learner) & (rows["representation"] == name)].set_index("metric")
        for metric in headline:
            difference = _difference(metric, mine.loc[metric], "rfm_content")
            known += [f"{learner} {metric} {difference}"] if difference else []
    return [f"   {name} less rfm_content: {', '.join(known)}"] if known else []


def _titles(metrics: list[str], headline: list[str], rows: pd.DataFrame) -> list[str]:
    names = {"rfm": "less rfm", "control": "less best control"}
    titles = []
    for metric in metrics:
        titles += [metric, *(names[to] for to in _compared(rows))] if metric in headline else [metric]
    return titles


def _compared(rows: pd.DataFrame) -> tuple[str, ...]:
    """What the block's representations are compared with in columns of their own; recommenders in their notes."""
    return () if (rows["learner"] == "ranking").all() else ("rfm", "control")


def _is_control(representation: str) -> bool:
    return representation in CONTROLS


def _order(key: tuple[str, str]) -> tuple:
    """Known learners and representations in the order of reading, others after them."""
    places = [names.index(name) if name in names else len(names) for name, names in zip(key, _KNOWN, strict=True)]
    return *places, key


_KNOWN = ([*LEARNERS, "ranking"], [*BLOCKS, *(name for name in CANDIDATES if name not in BLOCKS)])


def _value(metric: str, row: pd.Series) -> str:
    value, error = _number(row["value"]), _number(row["standard_error"])
    if math.isnan(value):
        return "-"
    return _text(metric, value) if math.isnan(error) else f"{_text(metric, value)} ± {_text(metric, error)}"


def _difference(metric: str, row: pd.Series, to: str) -> str:
    ends = [_number(row[f"difference_to_{to}{end}"]) for end in ("", "_low", "_high")]
    if any(map(math.isnan, ends)):
        return ""
    value, low, high = (_text(metric, end, "+") for end in ends)
    return f"{value} [{low}, {high}]"


def _text(metric: str, value: float, sign: str = "") -> str:
    if metric in IN_POINTS:
        return f"{100 * value:{sign}.1f}"
    return f"{value:{sign},.1f}" if metric in IN_UNITS else f"{value:{sign}.3f}"


def _number(value: object) -> float:
    return math.nan if pd.isna(value) else float(value)  # type: ignore[arg-type]


def _aligned(line: list[str], widths: list[int]) -> str:
    texts = 3  # names to the left, numbers to the right
    cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
    cells[:texts] = [cell.ljust(width) for cell, width in zip(line[:texts], widths[:texts], strict=True)]
    return "  ".join(cells).rstrip()


def _notes(rows: pd.DataFrame) -> list[str]:
    """Every remark once, with the representations it is about, or the learner that has the representation to itself."""
    remarks: dict[tuple[str, str], list[str]] = {}
    for row in rows.itertuples():
        name = row.learner if row.representation in BLOCKS and row.learner not in _KNOWN[0] else row.representation
        for remark in filter(None, ("" if pd.isna(row.note) else str(row.note)).split("; ")):
            names = remarks.setdefault((str(row.task), remark), [])
            if name not in names:
                names.append(name)
    by_names: dict[str, list[str]] = {}
    for (task, remark), names in remarks.items():
        by_names.setdefault(f"{', '.join(sorted(names))}: {remark}", []).append(task)
    return sorted(f"{', '.join(sorted(tasks))}, {text}" for text, tasks in by_names.items())

"""The long performance table as text for a terminal, in the shape of the paper's Tables 4 and 5."""

from __future__ import annotations

import math

import pandas as pd

ORDER = {
    "task": ["churn", "lifetime_value"],
    "metric": ["auroc", "f1", "rmse", "mae", "spearman"],
    "learner": ["random_forest", "lightgbm"],
    "representation": ["rfm", "caspr", "caspr_rfm", "rfm_noise"],
}
IN_POINTS = ("auroc", "f1")  # shown times 100


def performance_table(performance: pd.DataFrame) -> str:
    """One line a task, metric, learner and cutoff; one column a representation; `value ± standard error` in each cell.

    The argument has the columns of `model_performance` and may come from any SQL client, in any order of rows.
    """
    if performance.empty:
        return "No performance yet: no customers with known labels at an evaluate cutoff."
    rows = performance.assign(cutoff_at=pd.to_datetime(performance["cutoff_at"]))
    representations = _in_order("representation", rows)
    lines = [["task", "metric", "learner", "cutoff", "customers", *representations]]
    for cutoff_at in sorted(rows["cutoff_at"].unique()):
        for task in _in_order("task", rows):
            for metric in _in_order("metric", rows[rows["task"] == task]):
                for learner in _in_order("learner", rows):
                    line = rows[
                        (rows["cutoff_at"] == cutoff_at)
                        & (rows["task"] == task)
                        & (rows["metric"] == metric)
                        & (rows["learner"] == learner)
                    ].set_index("representation")
                    if len(line):
                        known = set(line.index)
                        cells = [_cell(metric, line.loc[name]) if name in known else "" for name in representations]
                        customers = f"{int(line['customers'].iloc[0]):,}"
                        lines.append([task, metric, learner, f"{cutoff_at:%Y-%m-%d}", customers, *cells])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    table = [_aligned(line, widths) for line in lines]
    table.insert(1, "  ".join("-" * width for width in widths))
    footnotes = ["", "auroc and f1 in points (x100); ± is one bootstrap standard error over customers.", *_notes(rows)]
    return "\n".join(table + footnotes)


def _in_order(column: str, rows: pd.DataFrame) -> list[str]:
    """The values of the column that occur: the known ones in the order of reading, others after them."""
    found = set(rows[column])
    return [name for name in ORDER[column] if name in found] + sorted(found - set(ORDER[column]))


def _cell(metric: str, row: pd.Series) -> str:
    value, error = ((math.nan if pd.isna(row[name]) else float(row[name])) for name in ("value", "standard_error"))
    if math.isnan(value):
        return "-"
    if metric in IN_POINTS:
        text = f"{100 * value:.1f}", f"{100 * error:.1f}"
    elif metric == "spearman":
        text = f"{value:.3f}", f"{error:.3f}"
    else:
        text = f"{value:,.1f}", f"{error:,.1f}"
    return text[0] if math.isnan(error) else " ± ".join(text)


def _aligned(line: list[str], widths: list[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
    texts = 4  # names to the left, numbers to the right
    cells[:texts] = [cell.ljust(width) for cell, width in zip(line[:texts], widths[:texts], strict=True)]
    return "  ".join(cells).rstrip()


def _notes(rows: pd.DataFrame) -> list[str]:
    """Every remark once, with the representations it is about."""
    remarks: dict[tuple[str, str], list[str]] = {}
    for row in rows.itertuples():
        for remark in filter(None, ("" if pd.isna(row.note) else str(row.note)).split("; ")):
            names = remarks.setdefault((str(row.task), remark), [])
            if row.representation not in names:
                names.append(row.representation)
    lines = {f"{task}, {', '.join(sorted(names))}: {remark}" for (task, remark), names in remarks.items()}
    return sorted(lines)

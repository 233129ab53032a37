"""Embeds with an export alone: `onnx_by_hand.py FOLDER INPUT.json OUTPUT.json`. What somebody without caspr_train does.

Nothing but the standard library, numpy and ONNX Runtime; everything else stands in FOLDER/preprocessing.json.
"""

import json
import math
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import onnxruntime


def clipped(x, lowest, highest):
    return min(max(x, lowest), highest)


def number(value, column, described):
    if value is None or not math.isfinite(value):
        return math.nan
    x = value / column["divide_by"]
    if column["transform"] == "signed_log":
        x = math.copysign(math.log1p(abs(x)), x)
    else:
        x = clipped(x, -described["largest"], described["largest"])
    x = clipped((x - column["mean"]) / column["scale"], *described["clip"])
    return float(np.float16(np.float32(x)))


def category(value, column, codes):
    if value is None:
        return codes["missing"]
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return column["codes"].get(text, codes["unknown"])


def finite(value):
    return value is not None and abs(value) < 1e100


def derive(rows, inputs):
    """Adds the columns that are derived from a customer's rows, all of them, in order."""
    for i, row in enumerate(rows):
        row["seconds_since_previous"] = (row["at"] - rows[i - 1]["at"]).total_seconds() if i else None
        for column in inputs["numbers"]["columns"]:
            if of := column.get("derived", {}).get("of"):
                earlier = [r[of] for r in rows if r["at"] < row["at"] and finite(r[of])]
                mean = sum(earlier) / len(earlier) if earlier else 0
                row[column["column"]] = round(row[of] / mean, 6) if round(mean, 6) and finite(row[of]) else None


def embed(folder, activities, profiles, cutoff_at):
    described = json.loads((Path(folder) / "preprocessing.json").read_text(encoding="utf-8"))
    inputs, codes = described["inputs"], described["codes"]
    t, cutoff = described["window"]["length"], datetime.fromisoformat(cutoff_at)
    customers = {}
    for row in activities:
        row["at"] = datetime.fromisoformat(row["occurred_at"])
        if row["at"] < cutoff:
            customers.setdefault(row["customer_id"], []).append(row)
    names = sorted(customers)

    fed = {}
    for name, described_input in inputs.items():
        shape = [len(names), *described_input["shape"][1:]]
        fed[name] = np.full(shape, described_input.get("padding", 0), described_input["type"])
    for i, name in enumerate(names):
        rows = sorted(customers[name], key=lambda row: (row["at"], row["stream_rank"], row["activity_id"].encode()))
        derive(rows, inputs)
        rows = rows[-t:]
        for place, row in enumerate(rows, t - len(rows)):
            fed["valid"][i, place] = True
            for j, column in enumerate(inputs["categories"]["columns"]):
                fed["categories"][i, place, j] = category(row[column["column"]], column, codes)
            for j, column in enumerate(inputs["numbers"]["columns"]):
                fed["numbers"][i, place, j] = number(row[column["column"]], column, described)
            days = math.log1p(min(math.ceil((cutoff - row["at"]).total_seconds()), 2147483647) / 86400)
            time = inputs["days_before"]
            fed["days_before"][i, place] = (days - time["mean"]) / time["scale"]
        profile = profiles.get(name, {})
        for j, column in enumerate(inputs["profile_categories"]["columns"]):
            fed["profile_categories"][i, j] = category(profile.get(column["column"]), column, codes)
        for j, column in enumerate(inputs["profile_numbers"]["columns"]):
            fed["profile_numbers"][i, j] = number(profile.get(column["column"]), column, described)

    session = onnxruntime.InferenceSession(Path(folder) / described["model"])
    assert session.get_modelmeta().custom_metadata_map["caspr_model_version"] == described["model_version"]
    (vectors,) = session.run([described["output"]["name"]], fed)
    return dict(zip(names, vectors.tolist(), strict=True))


if __name__ == "__main__":
    folder, given, out = sys.argv[1:]
    Path(out).write_text(json.dumps(embed(folder, **json.loads(Path(given).read_text()))))
    assert not {"caspr_train", "torch", "pandas"} & set(sys.modules)

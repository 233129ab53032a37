"""What `evaluate` and `finetune` measure on: a copy of the marts, of those who take part."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caspr_train import evaluation
from caspr_train.errors import DataError
from caspr_train.files import whole
from caspr_train.tasks import protocol, sample
from caspr_train.tasks.churn import CHURN
from caspr_train.tasks.fraud import FRAUD
from caspr_train.tasks.performance import PERFORMANCE_TYPES, performance
from caspr_train.warehouse import Reader
from tests.test_tasks import EVALUATE, TRAIN, at_most, labels_counted, make_tables, reading

NAMES = ("rfm", "caspr", "rfm_random_encoder")


@pytest.fixture(scope="module")
def tables():
    """Of 300 customers 60 have a label of fraud; nothing is recommended."""
    made = make_tables()
    few = sorted(made.churn_labels["customer_id"].unique())[::5]
    labels = made.churn_labels[made.churn_labels["customer_id"].isin(few)]
    frauds = labels[["customer_id", "cutoff_at"]].assign(is_fraud=labels["is_churned"], is_fraud_until_known=False)
    made.fraud_labels = frauds.assign(
        known_at=frauds["cutoff_at"], reported_at=frauds["cutoff_at"], alert_share=0.1
    ).reset_index(drop=True)
    keys = made.rfm_features[["customer_id", "cutoff_at"]]
    made.customer_cutoffs, made.rfm_scores = keys, keys
    made.purchase_history = made.purchase_labels = keys.head(0)
    made.item_popularity = keys.head(0).drop(columns="customer_id")
    made.label_counts = labels_counted(vars(made))
    return made


def reader_of(tables) -> Reader:
    connection = duckdb.connect()
    for name, frame in vars(tables).items():
        if frame.columns.size:
            connection.register(f"of_{name}", frame)
            connection.execute(f"create table {name} as from of_{name}")
    project = SimpleNamespace(relation=lambda model: model)
    run, stream = (
        lambda sql: connection.sql(sql).to_arrow_table(),
        lambda sql: connection.sql(sql).to_arrow_reader(64),
    )
    return Reader(project, "here", run, stream)


def run_of(tables, folder):
    """The folder of a run with the tables' vectors."""
    folder.mkdir()
    for name in ("customer_embeddings", "control_embeddings"):
        getattr(tables, name).to_parquet(folder / f"{name}.parquet", index=False)
    pd.DataFrame({"item": ["a"], "embedding": [[1.0]]}).to_parquet(folder / "item_embeddings.parquet")
    return folder


@pytest.mark.parametrize("most", [1_000, 100], ids=["everybody", "a sample"])
def test_on_the_copy_the_same_is_measured(tables, tmp_path, monkeypatch, most):
    at_most(monkeypatch, most)
    evaluation.copy_marts(reader_of(tables), tmp_path / "measured")
    copied = pq.read_table(tmp_path / "measured" / "rfm_features.parquet").to_pandas()
    assert set(copied["cutoff_at"]) == {TRAIN, EVALUATE}
    here = copied[copied["cutoff_at"] == TRAIN]["customer_id"]
    assert set(tables.fraud_labels["customer_id"]) <= set(here)
    assert len(here) == 300 if most > 300 else 100 < len(here) < 180
    run = run_of(tables, tmp_path / "run")
    evaluation.keep_vectors(run, tmp_path / "vectors", tmp_path / "measured")
    with whole(run / "customer_embeddings.parquet") as draft:  # somebody embeds again meanwhile, with other cutoffs
        tables.customer_embeddings.head(0).to_parquet(draft)
    read = evaluation.reading(tmp_path / "measured", tmp_path / "vectors")
    is_drawn = sample.is_sampled(tables.churn_labels["customer_id"].unique(), 300, most)
    for task in (CHURN, FRAUD):
        expected = protocol.evaluate(reading(tables), task, 1, NAMES)
        pd.testing.assert_frame_equal(protocol.evaluate(read, task, 1, NAMES), expected, check_exact=True)
        assert expected["customer_id"].nunique() == (60 if task is FRAUD else is_drawn.sum())


def test_who_takes_part_has_controls(tables, monkeypatch):
    at_most(monkeypatch, 100)
    marts, at = reader_of(tables), datetime(2011, 1, 1)
    assert pd.Timestamp(at) == TRAIN
    chosen = marts.customers_at(at, marts.taking_part([at], 300))
    assert chosen.type == pa.string() and set(tables.fraud_labels["customer_id"]) <= set(chosen.to_pylist())
    assert 100 < len(chosen) < 180 and marts.taking_part([at], 100) == ""


def test_without_labels_or_vectors_it_says_so(tables, tmp_path):
    bare = SimpleNamespace(
        **{name: frame.head(0) if "labels" in name else frame for name, frame in vars(tables).items()}
    )
    with pytest.raises(
        DataError, match=r"here: no labels are known at an evaluate cutoff \(2011-04-01 .*; expected some"
    ):
        evaluation.copy_marts(reader_of(bare), tmp_path / "bare")
    evaluation.copy_marts(reader_of(tables), tmp_path / "measured")
    older = SimpleNamespace(**vars(tables))
    older.customer_embeddings = tables.customer_embeddings[tables.customer_embeddings["cutoff_at"] != EVALUATE]
    with pytest.raises(DataError, match=r"run has no vectors at the cutoff 2011-04-01 .* caspr_train embed"):
        evaluation.keep_vectors(run_of(older, tmp_path / "run"), tmp_path / "vectors", tmp_path / "measured")


def test_what_was_measured_before_and_not_loaded_yet_is_kept(tmp_path):
    def rows(value: float, *questions: tuple[str, str, str]) -> pd.DataFrame:
        texts = pd.DataFrame(questions, columns=["task", "settings_hash", "learner"])
        row = {name: np.nan for name in PERFORMANCE_TYPES if name not in texts} | {"cutoff_at": EVALUATE, "seeds": 1}
        row |= {"is_headline": True, "is_champion": True, "customers": 9, "value": value, "model_version": "m"}
        return evaluation.evaluations_table(texts.assign(**row)).to_pandas()

    def found(frame: pd.DataFrame) -> set[tuple]:
        return set(frame[["task", "settings_hash", "learner", "value"]].itertuples(index=False, name=None))

    assert evaluation.kept(tmp_path) is None
    loaded = rows(1.0, ("churn", "now", "lightgbm"), ("churn", "before", "lightgbm"), ("fraud", "now", "lightgbm"))
    other = loaded.assign(model_version="another")
    assert found(evaluation.known(tmp_path, "m", pd.concat([loaded, other]))) == found(loaded)
    mine = rows(2.0, ("churn", "now", "lightgbm"), ("churn", "now", "finetuned"))
    evaluation.keep(evaluation.evaluations_table(mine), tmp_path)
    assert found(evaluation.known(tmp_path, "m", pd.concat([loaded, other]))) == {
        ("churn", "now", "lightgbm", 2.0),
        ("churn", "now", "finetuned", 2.0),
        ("churn", "before", "lightgbm", 1.0),
        ("fraud", "now", "lightgbm", 1.0),
    }


def test_evaluations_of_several_seeds_stand_below_each_other(tables):
    read = reading(tables)
    parts = [protocol.evaluate(read, CHURN, seed, NAMES) for seed in (1, 2)]
    stacked = evaluation._stacked([parts[0].head(0), *parts])
    assert len(stacked) == 2 * len(parts[0]) and stacked["note"].dtype == "category"
    plain = performance(pd.concat(parts, ignore_index=True), CHURN)
    pd.testing.assert_frame_equal(performance(stacked, CHURN), plain, check_exact=True)

"""The example with nothing but money: the whole file against pandas, then the whole road on 1,000 customers."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from caspr_train.tasks import bg_nbd
from caspr_train.tasks.representations import BLOCKS
from tests.projects import OWN_UNIT_TESTS, SHARED_DATA, Project, install_example, make_without_data

DATA = SHARED_DATA / "cdnow.parquet"
TRAIN, EVALUATE, SCORE = (pd.Timestamp(day) for day in ("1997-07-02", "1997-10-01", "1998-07-01"))
HORIZON = pd.Timedelta(days=91)

needs_data = pytest.mark.skipif(not DATA.is_file(), reason="no ../shared/data/cdnow.parquet beside the repository")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    return install_example("cdnow", tmp_path_factory.mktemp("house"))


def example(folder: Path, scratch: Path, data: Path) -> Project:
    scratch.mkdir()
    return Project(folder, scratch, {"cdnow_path": str(data)}, unit_tests=True)


@pytest.fixture(scope="module")
def whole(installed) -> Project:
    """Staging, with its data tests and unit tests, on the whole file."""
    project = example(installed, installed / "whole", DATA)
    project.dbt("build", "--select", "stg_purchases")
    return project


@pytest.fixture(scope="module")
def sample(installed) -> Project:
    """Everything, on 1,000 customers."""
    data = installed / "sample.parquet"
    duckdb.connect().execute(f"""
        copy (
            select * from '{DATA}'
            where customer_id = '00003' or customer_id in (
                select customer_id from '{DATA}' group by customer_id order by md5(customer_id) limit 999
            )
        ) to '{data}' (format parquet)
    """)
    project = example(installed, installed / "sample", data)
    project.dbt("build", *OWN_UNIT_TESTS)
    project.caspr("--gpus", "0", "--epochs", "1", "--preset", "default")
    project.dbt("build", "--select", "source:caspr_trained+", *OWN_UNIT_TESTS)
    return project


def days_by_pandas(data: Path | str) -> pd.DataFrame:
    """customer_id, date, n_cds, amount: what was bought on one day, in cents so that sums are exact."""
    lines = pd.read_parquet(data)
    lines["amount"] = (lines.amount * 100).round().astype("int64")
    days = lines.groupby(["customer_id", "date"], as_index=False)[["n_cds", "amount"]].sum()
    return days.assign(amount=days.amount / 100, date=pd.to_datetime(days.date))


@needs_data
def test_the_purchases_of_the_whole_file_are_those_of_pandas(whole):
    columns = "customer_id, purchased_at as date, cds as n_cds, amount"
    found = whole.frame(f"select {columns} from stg_purchases order by customer_id, date")
    pd.testing.assert_frame_equal(found, days_by_pandas(DATA), check_dtype=False, rtol=0, atol=1e-9)
    assert len(found) == 67_591 and found.customer_id.nunique() == 23_570


@needs_data
def test_the_calibration_ends_with_1997_09_30(sample):
    roles = sample.frame("select role, cutoff_at from cutoffs").set_index("role").cutoff_at
    assert roles.to_dict() == {"train": TRAIN, "evaluate": EVALUATE, "score": SCORE}
    # By hand: 00003 bought on 01-02, 03-30, 04-02, for 57.45 dollars on 11-15 and for 20.96 on 11-25.
    columns = "cutoff_at, future_revenue"
    value = sample.rows(f"select {columns} from lifetime_value_labels where customer_id = '00003' order by all")
    assert value == [(TRAIN, 0.0), (EVALUATE, 78.41)]
    last = "select max(occurred_at) from activity_sequences where cutoff_at = '1997-10-01'"
    assert sample.rows(last)[0][0] <= pd.Timestamp("1997-09-30")


@needs_data
def test_labels_are_those_of_pandas(sample):
    days = days_by_pandas(sample.variables["cdnow_path"])
    for cutoff in (TRAIN, EVALUATE):
        known = sorted(days[days.date < cutoff].customer_id.unique())
        after = days[(days.date >= cutoff) & (days.date < cutoff + HORIZON)]
        spent = after.groupby("customer_id").amount.sum().reindex(known, fill_value=0.0)
        at = f"where cutoff_at = '{cutoff}' order by customer_id"
        churn = sample.frame(f"select customer_id, is_churned from churn_labels {at}")
        assert churn.customer_id.tolist() == known
        assert churn.is_churned.tolist() == [customer not in set(after.customer_id) for customer in known]
        value = sample.frame(f"select future_revenue from lifetime_value_labels {at}")
        assert value.future_revenue.to_numpy() == pytest.approx(spent.to_numpy(), abs=1e-6)


@needs_data
def test_money_alone_is_enough_for_every_representation(sample):
    auroc = sample.frame("select * from model_performance where metric = 'auroc'")
    values = auroc.set_index(["task", "learner", "representation"]).sort_index().value
    for task in ("churn", "lifetime_value"):
        for learner in ("random_forest", "lightgbm"):
            assert set(BLOCKS) <= set(values[task, learner].index)
            # Even 1,000 customers tell that who bought lately will buy again; 0.5 is chance.
            assert values[task, learner, "rfm"] > 0.6
    assert values.between(0, 1).all()


@needs_data
@pytest.mark.skipif(not bg_nbd.is_available(), reason="needs the extra: pip install 'caspr-train[btyd]'")
def test_bg_nbd_is_a_row_of_the_table(sample):
    rows = sample.frame("select * from model_performance where learner = 'bg_nbd'")
    auroc = rows[rows.metric == "auroc"].set_index("task")
    assert sorted(auroc.index) == ["churn", "lifetime_value"]
    assert (auroc.value > 0.6).all() and (auroc.customers == 1_000).all()
    # The published parameters, in weeks, of 2,357 of the customers: r 0.243, alpha 4.41.
    (r, alpha), *_ = auroc.note.str.extract(r"\br ([\d.]+), alpha ([\d.]+)").astype(float).to_numpy()
    assert 0.1 < r < 0.5 and 2 < alpha < 9


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path):
    assert "CDNOW" in make_without_data("cdnow", tmp_path)

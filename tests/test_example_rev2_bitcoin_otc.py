"""The example of accounts that rate each other: the files against pandas, and frauds told from trusted accounts."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.projects import SHARED_DATA, Project, install_example, make_without_data

NAME = "rev2_bitcoin_otc"
EVALUATE = pd.Timestamp("2015-10-28")

needs_data = pytest.mark.skipif(
    not all((SHARED_DATA / file).is_file() for file in (f"{NAME}.parquet", f"{NAME}_labels.csv")),
    reason=f"no ../shared/data/{NAME}* beside the repository",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Project:
    """Staging with its tests, then what fraud needs, on the whole files."""
    folder = install_example(NAME, tmp_path_factory.mktemp("house"))
    project = Project(folder, folder, {"rev2_path": str(SHARED_DATA)}, unit_tests=True)
    project.dbt("build", "--select", "stg_ratings", "stg_fraud_reports")
    project.dbt("run", "--select", "+fraud_performance")
    return project


@pytest.fixture(scope="module")
def files() -> tuple[pd.DataFrame, dict[int, int]]:
    """The ratings without those that made the labels, and the labels."""
    labels = pd.read_csv(SHARED_DATA / f"{NAME}_labels.csv", header=None, index_col=0)[1].to_dict()
    ratings = pd.read_parquet(SHARED_DATA / f"{NAME}.parquet")
    made_labels = (ratings.src.map(labels) == 1) & ratings.dst.isin(labels) & (ratings.rating.abs() >= 5)
    assert made_labels.sum() == 818
    return ratings[~made_labels].assign(at=pd.to_datetime(ratings.ts, unit="s")), labels


@needs_data
def test_every_rating_is_an_activity_of_both_accounts(whole, files):
    ratings, _ = files
    found = whole.rows(
        "select activity_type, count(*), sum(given), sum(received) from activity_log group by all order by 1"
    )
    count, total = len(ratings), ratings.rating.sum()
    assert found == [("rating_given", count, total, None), ("rating_received", count, None, total)]


@needs_data
def test_labels_are_those_of_the_labelled_accounts_that_did_something(whole, files):
    ratings, labels = files
    before = ratings[ratings["at"] < EVALUATE]
    known = set(before.src) | set(before.dst)
    expected = {(str(account), EVALUATE, label == -1) for account, label in labels.items() if account in known}
    found = whole.rows("select customer_id, cutoff_at, is_fraud from fraud_labels")
    assert {(customer, pd.Timestamp(at), is_fraud) for customer, at, is_fraud in found} == expected
    assert len(found) == 269 and sum(is_fraud for *_, is_fraud in found) == 137


@needs_data
def test_frauds_are_told_from_trusted_accounts(whole):
    auroc = whole.frame("select * from fraud_performance where metric = 'auroc'")
    assert set(auroc.representation) == {"rfm", "rfm_content"} and auroc.customers.eq(269).all()
    assert auroc.value.gt(0.85).all() and auroc.standard_error.between(0.005, 0.04).all()
    assert auroc.note.str.contains("other customers of the same cutoff").all()


def test_missing_files_are_one_line_and_exit_code_2(tmp_path):
    assert "Bitcoin OTC" in make_without_data(NAME, tmp_path)

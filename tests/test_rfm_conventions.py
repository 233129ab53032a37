"""The buy-till-you-die numbers equal the published ones: CDNOW until 1997-09-30 (Fader and Hardie).

The transactions and the published summary of the 2,357 sampled customers lie in the package `lifetimes`; none of its
code runs.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from caspr_train.tasks import bg_nbd
from tests.projects import install_package

SETTINGS = {
    "streams": [
        {
            "model": "purchases",
            "occurred_at": "purchased_on",
            "activity_type": "purchase",
            "attributes": [{"name": "amount", "kind": "numerical", "role": "monetary"}],
        }
    ],
    "cutoffs": [{"cutoff_at": "1997-10-01", "role": "train"}],
}


def published() -> Path:
    found = importlib.util.find_spec("lifetimes")
    if found is None:
        pytest.skip("the published summary of CDNOW comes with a package: pip install lifetimes, or make test")
    return Path(found.origin).parent / "datasets"


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> pd.DataFrame:
    folder = published()
    names = ["master_id", "customer_id", "purchased_on", "cds", "amount"]
    purchases = pd.read_csv(
        folder / "CDNOW_sample.txt", sep=r"\s+", names=names, dtype={"customer_id": str, "purchased_on": str}
    )
    purchases["activity_id"] = [f"p{row}" for row in range(len(purchases))]
    project = install_package(
        tmp_path_factory.mktemp("cdnow") / "project",
        SETTINGS,
        {"purchases": "select * replace (strptime(purchased_on, '%Y%m%d') as purchased_on) from raw.purchases"},
    )
    with project.connect() as connection:
        connection.execute("create schema raw")
        connection.execute("create table raw.purchases as select * from purchases")
    project.dbt("--quiet", "run", "--select", "+rfm_scores")
    return project.frame("select * from rfm_scores order by customer_id")


def test_frequency_recency_and_age_are_the_published_ones(scores):
    """In weeks with two decimals, as published: 7 days are a week."""
    expected = pd.read_csv(published() / "cdnow_customers_summary_with_transactions.csv", index_col="ID")
    assert len(scores) == 2357
    assert scores["customer_id"].tolist() == [f"{number:04d}" for number in expected.index]
    assert scores["btyd_frequency"].tolist() == expected["x"].tolist()
    assert (scores["btyd_recency"] / 7 - expected["t_x"].to_numpy()).abs().max() < 0.0051
    assert (scores["btyd_t"] / 7 - expected["T"].to_numpy()).abs().max() < 0.0051


def test_the_mean_spend_without_the_first_purchase_is_the_published_one(scores):
    expected = pd.read_csv(published() / "cdnow_customers_summary_with_transactions.csv", index_col="ID")
    assert (scores["btyd_monetary_value"] - expected["zbar"].to_numpy()).abs().max() < 0.0051


def test_both_conventions_tell_the_same_story(scores):
    """One purchase more and the silence from the other end: frequency + 1, and recency + time since the last = T."""
    assert (scores["marketing_frequency"] == scores["btyd_frequency"] + 1).all()
    # the cutoff lies one day after the last observed day
    assert (scores["marketing_recency_days"] == scores["btyd_t"] - scores["btyd_recency"] + 1).all()


@pytest.mark.skipif(not bg_nbd.is_available(), reason="needs the extra: pip install 'caspr-train[btyd]'")
def test_bg_nbd_and_gamma_gamma_have_the_published_parameters(scores):
    """BG/NBD: Fader, Hardie and Lee (2005), Table 2, in weeks. Gamma-Gamma: Fader and Hardie (2013)."""
    note = bg_nbd.bg_nbd_scores(scores, horizon_days=90)["note"].unique()
    assert len(note) == 1
    found = {name: float(value) for name, value in (part.split() for part in note[0].split(", "))}
    published = {"r": 0.2426, "alpha": 4.4135, "a": 0.7929, "b": 2.4258, "p": 6.25, "q": 3.74, "v": 15.44}
    assert found == pytest.approx(published, rel=2e-3)

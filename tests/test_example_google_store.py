"""The example of visits with JSON columns, on a made-up file of exactly the columns that Kaggle documents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.projects import OWN_UNIT_TESTS, Project, install_example, make_without_data

AS_OF = pd.Timestamp("2017-08-02 07:00")
HORIZON = pd.Timedelta(days=90)
HIDDEN = "not available in demo dataset"
OURS = "0000010278554503158"
# The third is the very instant of the evaluate cutoff.
OUR_TIMES = ["2016-09-01 10:00", "2017-02-01 10:00", "2017-05-04 07:00", "2017-05-10 00:00"]


def visit(visitor: str, number: int, at: str | pd.Timestamp, micros: int | None = None, **told: str) -> dict:
    """One row of train.csv as the publisher writes it: numbers in JSON are text, what is not known says so."""
    started = int(pd.Timestamp(at).timestamp())
    device = {"browser": told.get("browser", "Chrome"), "browserVersion": HIDDEN, "operatingSystem": "Windows"}
    source = {"campaign": "(not set)", "source": "google", "medium": told.get("medium", "organic")}
    totals = {"visits": "1", "hits": "4", "pageviews": "3"}
    if number == 1:
        totals["newVisits"] = "1"
    if micros is None:
        totals |= {"hits": "1", "pageviews": "1", "bounces": "1"}
    elif micros:
        totals["transactionRevenue"] = str(micros)
    return {
        "channelGrouping": told.get("channel", "Organic Search"),
        "date": (pd.Timestamp(at) - pd.Timedelta(hours=7)).strftime("%Y%m%d"),
        "device": json.dumps(device | {"deviceCategory": "desktop", "isMobile": False}),
        "fullVisitorId": visitor,
        "geoNetwork": json.dumps({"continent": "Asia", "country": told.get("country", "India"), "city": HIDDEN}),
        "sessionId": f"{visitor}_{started}",
        "socialEngagementType": "Not Socially Engaged",
        "totals": json.dumps(totals),
        "trafficSource": json.dumps(source | {"adwordsClickInfo": {"criteriaParameters": HIDDEN}}),
        "visitId": started,
        "visitNumber": number,
        "visitStartTime": started,
    }


def made_up_file() -> pd.DataFrame:
    """80 visitors of a seed: the even ones buy every three weeks and stay, the odd ones come twice."""
    draw = np.random.default_rng(7)
    rows = []
    for visitor in range(1, 81):
        start = pd.Timestamp("2016-08-02 12:00") + pd.Timedelta(hours=int(draw.integers(0, 2000)))
        days = range(0, 320, 21) if visitor % 2 == 0 else range(0, 10, 7)
        for number, day in enumerate(days, start=1):
            micros = int(draw.integers(5, 200)) * 1_000_000 if visitor % 2 == 0 else None
            if (at := start + pd.Timedelta(days=day)) < AS_OF:
                rows.append(visit(f"{visitor:019d}", number, at, micros))
    rows += [
        visit(OURS, 1, OUR_TIMES[0], country="(not set)", medium="(none)", channel="Direct"),
        visit(OURS, 2, OUR_TIMES[1], 0, country="Japan"),
        visit(OURS, 3, OUR_TIMES[2], 37_860_000, country="Japan"),
        visit(OURS, 4, OUR_TIMES[3], 1_500_001, country="Japan"),
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def visits() -> pd.DataFrame:
    return made_up_file()


@pytest.fixture(scope="module")
def built(tmp_path_factory, visits) -> Project:
    """Everything, the scores on RFM included."""
    folder = install_example("google_store", tmp_path_factory.mktemp("house"))
    data = folder / "made_up"
    data.mkdir()
    visits.sample(frac=1, random_state=7).to_csv(data / "train.csv", index=False)
    project = Project(
        folder, Path(tmp_path_factory.mktemp("scratch")), {"google_store_path": str(data)}, unit_tests=True
    )
    project.dbt("build", *OWN_UNIT_TESTS)
    return project


def test_json_becomes_columns_and_micros_become_dollars(built):
    columns = "activity_type, channel, medium, country, visit_number, hits, revenue, is_bounce, visited_at"
    rows = built.rows(f"select {columns} from stg_visits where visitor_id = '{OURS}' order by visited_at")
    first, second, third, fourth = (pd.Timestamp(at) for at in OUR_TIMES)
    assert rows == [
        ("visit", "Direct", None, None, 1, 1, None, True, first),
        ("visit", "Organic Search", "organic", "Japan", 2, 4, None, False, second),
        ("purchase", "Organic Search", "organic", "Japan", 3, 4, 37.86, False, third),
        ("purchase", "Organic Search", "organic", "Japan", 4, 4, 1.500001, False, fourth),
    ]
    profile = built.rows(f"select first_channel, continent, country from stg_visitors where visitor_id = '{OURS}'")
    assert profile == [("Direct", "Asia", None)]


def test_lifetime_value_is_the_money_from_the_cutoff_on(built, visits):
    ours = built.frame(f"select * from lifetime_value_labels where customer_id = '{OURS}'").set_index("cutoff_at")
    # The purchase at the very instant of the evaluate cutoff belongs to its future.
    assert ours.future_revenue.to_dict() == {AS_OF - HORIZON: 39.360001, AS_OF - 2 * HORIZON: 0.0}
    cutoffs = built.frame("select role, cutoff_at from cutoffs").set_index("role").cutoff_at
    assert cutoffs.to_dict() == {"score": AS_OF, "evaluate": AS_OF - HORIZON, "train": AS_OF - 2 * HORIZON}

    at = pd.to_datetime(visits.visitStartTime, unit="s")
    dollars = visits.totals.map(lambda totals: int(json.loads(totals).get("transactionRevenue", 0)) / 1e6)
    for cutoff in ours.index:
        known = visits.fullVisitorId[at < cutoff].unique()
        after = dollars[(at >= cutoff) & (at < cutoff + HORIZON)].groupby(visits.fullVisitorId).sum()
        labels = f"select customer_id, future_revenue from lifetime_value_labels where cutoff_at = '{cutoff}'"
        found = dict(built.rows(labels))
        assert found == pytest.approx(after.reindex(known, fill_value=0.0).to_dict(), abs=1e-6)


def test_everybody_is_scored_and_rfm_finds_the_buyers(built, visits):
    assert built.rows("select count(distinct customer_id) from lifetime_value_predictions") == [(81,)]
    auroc = built.frame("select * from model_performance where metric = 'auroc' and representation = 'rfm'")
    assert set(auroc.task) == {"churn", "lifetime_value"} and (auroc.value > 0.8).all()


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path):
    assert "train.csv" in make_without_data("google_store", tmp_path)

"""Customers of whom a dated profile is known and no activity: who appears, with what, and that nothing else moves."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from tests.projects import Project, install_package

SCORE = datetime(2025, 4, 1)
INSTANT = timedelta(microseconds=1)
LONG_AGO = datetime(2020, 1, 1)
CUSTOMERS = 240
# Half of the customers have plan `stays` and are active every week, the others leave one after the other.
ACTIVITIES = f"""
select
    'a' || i || '_' || week as activity_id,
    'c' || i as customer_id,
    timestamp '2024-11-04' + to_days(7 * week::int) + to_minutes(i::int) as occurred_at,
    'p' || (i * week % 7) as product,
    1.0 + i % 10 as amount
from range({CUSTOMERS}) as t (i), range(24) as w (week)
where i % 2 = 0 or week < 4 + i % 20
union all
select 'late', 'late', timestamp '{SCORE}', 'p1', 5.0
"""
MODELS = {
    "activities": "{{ config(materialized='table') }}\n" + ACTIVITIES,
    "people": "select * from raw.people",
    "reports": """
        select
            'c' || i as customer_id,
            timestamp '2024-12-20' + to_days(i::int) as occurred_at,
            timestamp '2024-12-21' + to_days(i::int) as known_at
        from range(100) as t (i)
        union all
        select 'fraud', timestamp '2025-03-01', timestamp '2025-03-02'
    """,
}
SETTINGS = {
    "streams": [
        {
            "model": "activities",
            "activity_type": "order",
            "attributes": [
                {"name": "product", "kind": "categorical", "role": "item"},
                {"name": "amount", "kind": "numerical", "role": "monetary"},
            ],
        }
    ],
    "profile": {
        "model": "people",
        "valid_from": "since",
        "valid_to": "until",
        "attributes": [{"name": "plan", "kind": "categorical"}, {"name": "age", "kind": "numerical"}],
    },
    "horizon_days": 30,
    "as_of": "2025-05-01",
    "cutoffs": [
        {"cutoff_at": "2025-01-20", "role": "train"},
        {"cutoff_at": "2025-02-24", "role": "evaluate"},
        {"cutoff_at": str(SCORE), "role": "score"},
    ],
    "fraud": {"model": "reports"},
}
# (customer_id, plan, age, since, until); known at the score cutoff, and nothing was done before it
STRANGERS = [
    ("just", "stays", 30, SCORE - INSTANT, None),
    ("until", "leaves", None, LONG_AGO, SCORE),  # it held in the last instant before the cutoff
    ("late", "stays", 40, LONG_AGO, None),  # the first activity lies on the cutoff
    ("fraud", "stays", 40, LONG_AGO, None),
    ("moved", "stays", 40, LONG_AGO, SCORE),
]
NOBODY = [
    ("over", "stays", 40, LONG_AGO, SCORE - INSTANT),
    ("undated", "stays", 40, None, None),  # nobody knows since when
    ("", "stays", 40, LONG_AGO, None),
    (None, "stays", 40, LONG_AGO, None),
]
# What begins at the cutoff or after it.
FUTURE = [
    ("at", "stays", 40, SCORE, None),
    ("after", "leaves", 40, SCORE + INSTANT, None),
    ("soon", "leaves", 40, SCORE + timedelta(days=3), SCORE + timedelta(days=9)),
    ("moved", "leaves", 99, SCORE, None),
    ("just", "leaves", 99, SCORE + timedelta(days=1), None),
]
PREDICTIONS = ("churn_predictions", "lifetime_value_predictions", "fraud_predictions", "product_recommendations")
OF_STRANGERS = ("customers_without_activity", "customer_counts", *PREDICTIONS)
MEASURED = ("model_performance", "churn_evaluation", "lifetime_value_evaluation", "fraud_evaluation")


def write(project: Project, strangers: list[tuple]) -> None:
    known = [(f"c{i}", "stays" if i % 2 == 0 else "leaves", i % 50, LONG_AGO, None) for i in range(CUSTOMERS)]
    with project.connect() as connection:
        connection.execute("create schema if not exists raw")
        columns = "customer_id text, plan text, age integer, since timestamp, until timestamp"
        connection.execute(f"create or replace table raw.people ({columns})")
        connection.executemany("insert into raw.people values (?, ?, ?, ?, ?)", known + strangers)


def rows(project: Project, *marts: str) -> dict[str, list[tuple]]:
    """Each mart as sorted rows of text: a difference in the last bit shows."""
    found = {}
    for mart in marts:
        columns = [name for name, *_ in project.rows(f"describe {mart}")]
        texts = ", ".join(f'cast("{name}" as text)' for name in columns)
        found[mart] = sorted(project.rows(f"select {texts} from {mart}"), key=str)
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = install_package(tmp_path_factory.mktemp("strangers") / "project", SETTINGS, MODELS)
    write(project, STRANGERS + NOBODY)
    # Two profiles of nobody are there on purpose, of everything else no warning is accepted.
    expected = "no_outcome_or_profile_is_left_out"
    project.dbt("--quiet", "--warn-error", "build", "--exclude", expected)
    return project


@pytest.fixture(scope="module")
def built(project) -> dict[str, list[tuple]]:
    return rows(project, *OF_STRANGERS, *MEASURED)


def test_a_profile_that_begins_at_the_cutoff_or_later_makes_nobody_appear(project, built):
    write(project, STRANGERS + NOBODY + FUTURE)
    project.dbt("--quiet", "run")
    after = rows(project, *OF_STRANGERS, *MEASURED)
    write(project, STRANGERS + NOBODY)
    project.dbt("--quiet", "run")
    for mart, before in built.items():
        assert after[mart] == before, mart
    assert len(built["customers_without_activity"]) == len(STRANGERS)


def test_who_is_known_by_the_profile_alone_is_scored_once_flagged_and_finite(project, built):
    everybody = {name for name, *_ in STRANGERS}
    found = project.rows("select customer_id, cutoff_at, plan, age from customers_without_activity order by all")
    assert found == sorted((name, SCORE, plan, age) for name, plan, age, *_ in STRANGERS)
    assert project.rows(f"select * from customer_counts where cutoff_at = '{SCORE}'") == [(SCORE, CUSTOMERS, 5)]
    for table, scores in {
        "churn_predictions": ["churn_probability"],
        "lifetime_value_predictions": ["predicted_revenue", "high_value_probability"],
        "fraud_predictions": ["fraud_probability"],
    }.items():
        frame = project.frame(f"select * from {table}")
        assert frame["customer_id"].is_unique, table
        flagged = frame[~frame["has_activity"]]
        # who is known to be a fraud is not at risk of becoming one
        assert set(flagged["customer_id"]) == everybody - ({"fraud"} if table == "fraud_predictions" else set()), table
        assert np.isfinite(flagged[scores].to_numpy()).all(), table
        assert set(flagged["representation"]) == {"profile"}, table
        assert flagged["note"].str.startswith("no activity before the cutoff: scored from the profile alone").all()
        rest = frame[frame["has_activity"]]
        assert len(rest) > 100 and not rest["note"].str.contains("no activity").any()
        assert "profile" not in set(rest["representation"]), table
    items = project.frame("select * from product_recommendations")
    flagged = items[~items["has_activity"]]
    assert set(flagged["customer_id"]) == everybody
    assert set(flagged["reason"]) == {"popular; no activity before the cutoff"}
    assert set(flagged["representation"]) == {"popularity"}
    assert flagged.groupby("customer_id")["item"].nunique().eq(7).all()


def test_the_profile_decides_what_is_said_of_them(project, built):
    score = dict(project.rows("select customer_id, churn_probability from churn_predictions where not has_activity"))
    assert score["until"] > score["just"] + 0.1
    # the row that held before the cutoff, not the one that replaced it
    assert score["moved"] == score["late"] == score["fraud"]


def test_the_deciles_and_alerts_of_all_others_stay_as_they_were_measured(project, built):
    for table in ("churn_predictions", "lifetime_value_predictions"):
        sizes = project.rows(f"select count(*) from {table} where has_activity group by decile order by decile")
        assert len(sizes) == 10 and max(sizes)[0] - min(sizes)[0] <= 1
    last, first = project.rows(
        "select max(suspicion_rank) filter (has_activity), min(suspicion_rank) filter (not has_activity) "
        "from fraud_predictions"
    )[0]
    assert first == last + 1


def test_what_is_measured_is_the_same_without_them(project, built):
    write(project, NOBODY)
    project.dbt("--quiet", "run")
    after = rows(project, *OF_STRANGERS, *MEASURED)
    for mart in MEASURED:
        assert after[mart] == built[mart], mart
    assert after["customers_without_activity"] == []
    strangers = tuple(name for name, *_ in STRANGERS)
    for table in PREDICTIONS:
        assert after[table] == [row for row in built[table] if row[0] not in strangers], table

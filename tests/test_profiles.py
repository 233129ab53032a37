"""A profile with validity dates and an observed outcome: what of them counts, and what is said of the rest."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from caspr_train.tasks.representations import KEYS, ProfileValues, build
from tests.projects import install_package

ACTIVITIES = """
select 'a' || i as activity_id, 'c' || i as customer_id, timestamp '2025-01-01' as occurred_at from range(1, 9) as t (i)
"""
# Named like columns that the marts might need on the way.
PROFILES = """
select * from (values
    ('c1', 'old', 'x1', 1, timestamp '2020-01-01', timestamp '2025-02-01'),
    ('c1', 'new', 'x2', 2, timestamp '2025-02-01', null),
    ('c2', 'always', 'x3', 3, null, null),
    ('c2', 'never', 'x4', 4, timestamp '2025-01-01', timestamp '2025-01-01'),
    (null, 'nobody', 'x5', 5, timestamp '2020-01-01', null),
    ('', 'nobody', 'x5', 5, timestamp '2020-01-01', null)
) as t (customer_id, valid_from, valid_to, validity_rank, since, until)
"""
PROFILE = {
    "model": "profiles",
    "valid_from": "since",
    "valid_to": "until",
    "attributes": [
        {"name": "valid_from", "kind": "categorical"},
        {"name": "valid_to", "kind": "categorical"},
        {"name": "validity_rank", "kind": "numerical"},
    ],
}
OUTCOMES = """
select * from (values
    ('c1', timestamp '2025-02-05', null::boolean),  -- unknown: neither an outcome in the window
    ('c3', timestamp '2025-01-15', null),           -- nor one that ends the risk
    ('c2', null, true),
    ('c4', timestamp '2025-02-05', true),
    (null, timestamp '2025-02-05', true),
    ('c5', timestamp '2025-02-05', false),
    ('c5', timestamp '2025-02-06', true),
    ('c6', timestamp '1970-01-01', true),
    ('c7', timestamp '2025-01-15', false)
) as t (customer_id, occurred_at, is_churned)
"""
REPORTS = """
select * from (values
    ('c1', timestamp '2025-02-05', timestamp '2025-02-04', true),
    ('c1', timestamp '2025-02-05', null, true),
    ('c1', timestamp '2025-02-05', timestamp '2025-02-06', null),
    (null, timestamp '2025-02-05', timestamp '2025-02-06', true),
    ('c2', timestamp '2025-02-05', timestamp '2025-02-05', true)
) as t (customer_id, occurred_at, known_at, is_fraud)
"""
TWICE = """
select * from (values
    ('it''s', 'b'), ('it''s', 'b'), ('it''s', 'c'), ('c2', 'b'), ('c3', 'b'), ('c3', 'c'), (null, 'b'), (null, 'b')
) as t (customer_id, valid_from)
"""
# Of the tests those of which every parent is built.
CAUTIOUS = ("--indirect-selection", "cautious")
SETTINGS = {
    "streams": [{"model": "activities", "activity_type": "order"}],
    "profile": PROFILE,
    "as_of": "2025-03-01",
    "horizon_days": 10,
    "cutoffs": [{"cutoff_at": "2025-02-01", "role": "train"}, {"cutoff_at": "2025-02-11", "role": "evaluate"}],
    "churn": {"observed": {"model": "outcomes", "is_churned": "is_churned"}},
    "fraud": {"model": "reports", "is_fraud": "is_fraud"},
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    models = {"activities": ACTIVITIES, "profiles": PROFILES, "outcomes": OUTCOMES, "reports": REPORTS, "twice": TWICE}
    project = install_package(tmp_path_factory.mktemp("profiles") / "project", SETTINGS, models)
    return project, project.dbt("build", "--select", "+customer_profiles", "+churn_labels", "+fraud_labels", *CAUTIOUS)


def test_attributes_may_be_named_like_the_dates_of_validity(built):
    project, _ = built
    found = project.rows(
        "select customer_id, cutoff_at::date::text, has_profile, valid_from, valid_to, validity_rank "
        "from customer_profiles where customer_id in ('c1', 'c2', 'c3') order by all"
    )
    assert found == [
        ("c1", "2025-02-01", True, "old", "x1", 1.0),
        ("c1", "2025-02-11", True, "new", "x2", 2.0),
        ("c2", "2025-02-01", True, "always", "x3", 3.0),
        ("c2", "2025-02-11", True, "always", "x3", 3.0),
        ("c3", "2025-02-01", False, None, None, None),
        ("c3", "2025-02-11", False, None, None, None),
    ]


def test_an_outcome_that_is_not_known_is_none(built):
    project, _ = built
    labels = dict(project.rows("select customer_id, is_churned from churn_labels where cutoff_at = '2025-02-01'"))
    stayed = dict.fromkeys(["c1", "c2", "c3", "c6", "c8"], False)
    assert labels == {**stayed, "c4": True, "c5": True}
    # who had an outcome is no longer at risk, c1 has none
    later = project.rows("select customer_id from churn_labels where cutoff_at = '2025-02-11' order by all")
    assert later == [("c1",), ("c2",), ("c3",), ("c6",), ("c8",)]


def test_a_fraud_that_was_known_before_it_happened_is_none(built):
    project, _ = built
    assert project.rows("select customer_id from fraud_labels where is_fraud order by all") == [("c2",)]


def test_what_is_left_out_is_counted_by_its_reason(built):
    project, said = built
    assert "WARN 10 no_outcome_or_profile_is_left_out" in said
    project.dbt("test", "--select", "no_outcome_or_profile_is_left_out", "--store-failures")
    assert project.rows("select * from main_dbt_test__audit.no_outcome_or_profile_is_left_out order by all") == [
        ("churn.observed", "impossible_occurred_at", 1),
        ("churn.observed", "null_customer_id", 1),
        ("churn.observed", "null_is_churned", 2),
        ("churn.observed", "null_occurred_at", 1),
        ("fraud", "known_before_it_occurred", 1),
        ("fraud", "null_customer_id", 1),
        ("fraud", "null_is_fraud", 1),
        ("fraud", "null_known_at", 1),
        ("profile", "empty_customer_id", 1),
        ("profile", "null_customer_id", 1),
    ]


@pytest.mark.parametrize(
    ("changes", "expected", "mended"),
    [
        (
            {"model": "twice", "attributes": []},
            "one row a customer in model 'twice', where 'it's' has 3 (customers with several: 2)",
            "take the others out there, or name valid_from",
        ),
        (
            {"model": "twice_at_once", "attributes": [], "valid_from": "since"},
            "one row a customer and since in model 'twice_at_once', where 'c1' has 2 (customers with several: 1)",
            "take the others out there",
        ),
    ],
    ids=["without dates", "from one instant on"],
)
def test_a_customer_twice_in_the_profile_stops_the_mart(built, changes, expected, mended):
    project, _ = built
    twice = "select 'c1' as customer_id, timestamp '2025-01-01' as since from range(2) union all select 'c1', null"
    (project.folder / "models" / "twice_at_once.sql").write_text(twice)
    before = project.rows("select count(*) from customer_profiles")
    variables = json.dumps({**SETTINGS, "profile": changes})
    done = project.try_dbt("run", "--select", "twice", "twice_at_once", "customer_profiles", "--vars", variables)
    assert done.returncode == 1
    (line,) = {line.strip() for line in done.stdout.splitlines() if "vars: caspr: profile.customer_id" in line}
    assert f"; expected {expected}: {mended}" in line and line.endswith(mended)
    assert project.rows("select count(*) from customer_profiles") == before


def test_without_dates_a_profile_that_came_later_tells_nothing(built):
    """c2 registers after every cutoff and says nothing of itself: no feature of anybody may know."""
    project, _ = built
    profile = {"model": "registered", "attributes": [{"name": "plan", "kind": "categorical"}]}
    variables = json.dumps({**SETTINGS, "profile": profile})
    marts = ("registered", "customer_profiles")

    def features(*registered: tuple[str, str]) -> tuple[pd.DataFrame, np.ndarray]:
        rows = " union all ".join(f"select '{name}' as customer_id, {plan} as plan" for name, plan in registered)
        (project.folder / "models" / "registered.sql").write_text(rows)
        project.dbt("run", "--quiet", "--select", *marts, "--vars", variables)
        profiles = project.frame("select * from customer_profiles")
        made = build(lambda name, _: profiles if name == "customer_profiles" else profiles[KEYS], "", None, ["rfm"])
        return ProfileValues().fit(profiles).transform(profiles), made.blocks["rfm"]

    columns, before = features(("c1", "'basic'"))
    assert sorted(columns) == ["customer_id", "cutoff_at", "plan basic"] and before.shape == (16, 1)
    _, after = features(("c1", "'basic'"), ("c2", "null"))
    np.testing.assert_array_equal(after, before)
    said = project.dbt("test", "--select", "undated_profile_covers_every_customer", "--vars", variables)
    assert "WARN 6 undated_profile_covers_every_customer" in said

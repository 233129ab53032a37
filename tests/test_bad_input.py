"""What real tables hold: rows that are wrong, names that need quotes, keys of several parts, nothing at all."""

from __future__ import annotations

import json

import pytest

from tests.projects import install_package

# Every fault once; customers 1 and 2 have good rows, 3 only bad ones. The names are those that people give.
VISITS = """
select * from (values
    ('v1', 1, timestamp '2025-01-05 10:00:00', 'été, d''or "naïf" 日本', 5.0),
    ('v2', 1, timestamp '2025-02-05 10:00:00', '%_\\', null),
    ('v3', 2, timestamp '2025-01-06 10:00:00', 'the one that counts', 1.0),
    ('v3', 2, timestamp '2025-01-07 10:00:00', '', 'nan'::double),
    ('v4', null, timestamp '2025-01-06 10:00:00', 'a', 1.0),
    (null, 1, timestamp '2025-01-06 10:00:00', 'a', 1.0),
    ('v5', 1, null, 'a', 1.0),
    ('v6', 1, timestamp 'infinity', 'a', 1.0),
    ('v7', 1, timestamp '1970-01-01 00:00:00', 'a', 1.0),
    ('v8', 3, timestamp '9999-12-31 00:00:00', 'a', 1.0),
    ('v9', 3, timestamp '2025-03-01 00:00:00', 'a', 1.0),
    ('', 1, timestamp '2025-01-06 10:00:00', 'a', 1.0)
) as t ("Visit ID", "group", "Wh""en?", "order", "it's")
"""
EMPTY = "select 'a' as activity_id, 'c' as customer_id, timestamp '2025-01-01' as occurred_at where false"
PARTS = """
select * from (values
    (1, 'x|y', 'z', timestamp '2025-01-05', '12.50'),
    (2, 'x', 'y|z', timestamp '2025-01-06', '1.00'),
    (3, 'x', null, timestamp '2025-01-06', '1.00'),
    (4, '', 'z', timestamp '2025-01-07', '1.00')
) as t (activity_id, country, number, occurred_at, price)
"""
STREAM = {
    "model": "visits",
    "activity_id": "Visit ID",
    "customer_id": "group",
    "occurred_at": 'Wh"en?',
    "activity_type": "visit's",
    "attributes": [
        {"name": "order", "column": "order", "kind": "categorical"},
        {"name": "select", "column": "it's", "kind": "numerical", "role": "monetary", "relative": True},
    ],
}
# Of the tests those of which every parent is built.
CAUTIOUS = ("--indirect-selection", "cautious")
SETTINGS = {"streams": [STREAM], "as_of": "2025-03-01", "horizon_days": 10, "content_values": 2}


@pytest.fixture(scope="module")
def installing(tmp_path_factory):
    models = {"visits": VISITS, "nothing": EMPTY, "parts": PARTS}
    return install_package(tmp_path_factory.mktemp("bad") / "project", SETTINGS, models)


@pytest.fixture(scope="module")
def built(installing):
    return installing, installing.dbt("build")


def test_every_wrong_row_is_counted_with_its_reason(built):
    project, _ = built
    rejected = project.rows("select activity_id, customer_id, rejection from rejected_activities order by all")
    assert rejected == [
        ("", "1", "empty_activity_id"),
        ("v3", "2", "repeated_activity_id"),
        ("v4", None, "null_customer_id"),
        ("v5", "1", "null_occurred_at"),
        ("v6", "1", "impossible_occurred_at"),
        ("v7", "1", "impossible_occurred_at"),
        ("v8", "3", "impossible_occurred_at"),
        ("v9", "3", "at_or_after_as_of"),
        (None, "1", "null_activity_id"),
    ]


def test_the_build_warns_of_wrong_rows_and_goes_on(built):
    _, said = built
    assert "WARN 6 no_activity_is_rejected" in said
    assert "ERROR=0" in said


def test_names_and_values_come_through_whatever_they_are(built):
    project, _ = built
    log = (
        'select customer_id, activity_type, "order", "select", "select_relative" from activity_log order by occurred_at'
    )
    assert project.rows(log) == [
        ("1", "visit's", 'été, d\'or "naïf" 日本', 5.0, None),
        ("2", "visit's", "the one that counts", 1.0, None),
        ("1", "visit's", "%_\\", None, None),
    ]
    values = project.rows(
        "select attribute_value from attribute_values where attribute_name = 'order' order by value_rank"
    )
    assert values == [("%_\\",), ("the one that counts",)]
    # a customer of whom only wrong rows are known is no customer
    assert project.rows("select distinct customer_id from customer_cutoffs order by all") == [("1",), ("2",)]


def with_settings(installing, **changes) -> str:
    return json.dumps({**SETTINGS, **changes})


def test_a_key_of_several_columns_is_injective(installing):
    stream = {"model": "parts", "customer_id": ["country", "number"], "activity_type": "visit"}
    installing.dbt("run", "--select", "+activity_log", "--vars", with_settings(installing, streams=[stream]))
    customers = installing.rows("select customer_id from activity_log order by occurred_at")
    assert customers == [("x~py|z",), ("x|y~pz",)]
    # A key of which a part is null or empty would make one customer of everybody who shares the other parts.
    rejected = installing.rows("select activity_id, customer_id, rejection from rejected_activities order by all")
    assert rejected == [("3", None, "null_customer_id"), ("4", None, "null_customer_id")]


def test_a_customer_and_a_type_without_a_character_are_none(installing):
    stream = {"model": "parts", "customer_id": "country", "activity_type": "visit"}
    other = {"model": "parts", "customer_id": "activity_id", "activity_type_column": "country"}
    variables = with_settings(installing, streams=[stream, other])
    installing.dbt("run", "--select", "rejected_activities", "--vars", variables)
    rejected = installing.rows("select activity_id, customer_id, rejection from rejected_activities order by all")
    assert rejected == [("4", "", "empty_customer_id"), ("4", "4", "empty_activity_type")]


def test_money_as_text_is_refused(installing):
    money = [{"name": "price", "kind": "numerical", "role": "monetary"}]
    stream = {"model": "parts", "customer_id": "country", "activity_type": "visit", "attributes": money}
    done = installing.try_dbt("build", "--vars", with_settings(installing, streams=[stream]))
    assert done.returncode == 1
    assert 'streams[0].attributes[0].column is "price"; expected a column of numbers' in done.stdout
    assert "its type is VARCHAR (cast it there, or say kind: categorical)" in done.stdout


def test_a_stream_without_time_is_named(installing):
    stream = {"model": "visits", "activity_id": "Visit ID", "customer_id": "group", "activity_type": "visit"}
    done = installing.try_dbt("build", "--vars", with_settings(installing, streams=[stream]))
    assert done.returncode == 1
    assert "streams[0].occurred_at is \"occurred_at\"; expected a column of model 'visits', which has: " in done.stdout


def test_an_observed_outcome_must_be_a_truth(installing):
    observed = {"model": "parts", "customer_id": "country", "is_churned": "price"}
    done = installing.try_dbt("build", "--vars", with_settings(installing, churn={"observed": observed}))
    assert done.returncode == 1
    assert (
        "churn.observed.is_churned is \"price\"; expected a boolean column; in model 'parts' its type is VARCHAR"
        in done.stdout
    )


def test_a_history_shorter_than_two_horizons_is_warned_of_and_keeps_its_content(installing):
    # the evaluate cutoff is 2025-01-09, after some visits; the train cutoff before all of them
    variables = with_settings(installing, horizon_days=51)
    said = installing.dbt("build", *CAUTIOUS, "--select", "+content_features", "--vars", variables)
    assert "WARN 1 every_cutoff_has_customers" in said
    installing.dbt("test", "--select", "every_cutoff_has_customers", "--store-failures", "--vars", variables)
    (row,) = installing.rows("select * from main_dbt_test__audit.every_cutoff_has_customers")
    assert (str(row[0]), *row[1:]) == (
        "2024-11-19 00:00:00",
        "train",
        "horizon_days: fewer; train_cutoffs: fewer; as_of: later",
    )
    content = "select cutoff_at::date::text, sum(activity_type_top_1_count)::int from content_features"
    assert installing.rows(f"{content} group by 1 order by 1") == [("2025-01-09", 2), ("2025-03-01", 3)]


def test_a_cutoff_after_all_that_is_known_fails(installing):
    cutoffs = [{"cutoff_at": "2025-03-02", "role": "train"}, {"cutoff_at": "2025-03-02 00:00:00.5", "role": "score"}]
    variables = with_settings(installing, as_of=None, cutoffs=cutoffs)
    done = installing.try_dbt("build", *CAUTIOUS, "--select", "+cutoffs", "--vars", variables)
    assert done.returncode == 1
    # the last activity is of 2025-03-01, so that the first of the two is right
    assert "FAIL 1 every_cutoff_lies_at_or_before_as_of" in done.stdout


@pytest.mark.parametrize(
    "changes",
    [
        {"streams": [{"model": "nothing", "activity_type": "visit"}]},
        {"as_of": "2020-01-01"},  # everything lies after it
        {"cutoffs": [{"cutoff_at": "2020-01-01", "role": role} for role in ["train"]]},  # a cutoff before everything
    ],
    ids=["an empty source", "everything after as_of", "a cutoff before the first activity"],
)
def test_nothing_known_gives_empty_tables_and_no_error(installing, changes):
    said = installing.dbt("build", "--vars", with_settings(installing, **changes))
    assert "ERROR=0" in said
    for mart in ("customer_cutoffs", "activity_sequences", "rfm_features", "content_features", "churn_predictions"):
        assert installing.rows(f"select count(*) from {mart}") == [(0,)], mart

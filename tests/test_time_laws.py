"""The laws of time, on a real DuckDB file and a random small configuration.

Nothing at or after a cutoff touches a row of that cutoff, nothing outside the label window touches a label, and the
physical order of the inputs touches nothing at all.
"""

from __future__ import annotations

import json
import random
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.projects import Project, install_package

CUTOFFS = [datetime(2025, 2, 1), datetime(2025, 3, 4, 13, 30), datetime(2025, 4, 9, 23, 59, 59)]
CUSTOMERS = 48
SECOND = timedelta(seconds=1)
MARTS = (
    "activity_log",
    "customer_cutoffs",
    "customers_without_activity",
    "activity_sequences",
    "rfm_features",
    "rfm_scores",
    "content_features",
    "customer_profiles",
    "purchase_history",
    "churn_labels",
    "lifetime_value_labels",
    "purchase_labels",
    "fraud_labels",
)
AS_OF = datetime(2025, 6, 1)
# What must not know the future: the log holds all of it, the labels ask for it.
MARTS_OF_THE_PAST = (
    "customer_cutoffs",
    "customers_without_activity",
    "activity_sequences",
    "rfm_features",
    "rfm_scores",
    "content_features",
    "customer_profiles",
    "purchase_history",
)


class Shop:
    """Random streams with random attributes, dense around the cutoffs and full of ties.

    `loads` says what the settings make of the column loaded_at: "unread", "read", or "known_at".
    """

    def __init__(self, seed: int, loads: str = "unread"):
        self.random = random.Random(seed)
        self.loads = loads
        self.horizon_days = self.random.randint(10, 30)
        self.columns = {}
        self.rows = {}
        self.streams = []
        for rank in range(self.random.randint(2, 3)):
            name = f"stream_{rank}"
            attributes = []
            if rank == 0:
                attributes.append({"name": "amount", "kind": "numerical", "role": "monetary", "relative": True})
                attributes.append({"name": "product", "kind": "categorical", "role": "item"})
            for number in range(self.random.randint(0, 2)):
                # the same name in two streams is one attribute, hence of one kind
                kind = "categorical" if number else "numerical"
                attributes.append({"name": f"shared_{number}", "kind": kind})
            self.columns[name] = ["activity_id", "customer_id", "occurred_at", "loaded_at"] + [
                a["name"] for a in attributes
            ]
            stream = {"model": name, "activity_type": f"type_{rank}", "attributes": attributes}
            self.streams.append(stream if loads == "unread" else {**stream, "loaded_at": "loaded_at"})
            self.rows[name] = [self.activity(name, self.instant()) for _ in range(self.random.randint(300, 500))]
        # (customer_id, occurred_at, known_at, is_fraud)
        self.reports = [
            (f"c{customer}", at, at + timedelta(days=customer % 50), customer % 4 > 0)
            for customer in range(0, CUSTOMERS, 2)
            for at in [CUTOFFS[customer % 3] + timedelta(days=customer % self.horizon_days)]
        ]

    @property
    def settings(self) -> dict:
        roles = ["train", "evaluate", "score"]
        return {
            "streams": self.streams,
            "profile": {
                "model": "people",
                "valid_from": "since",
                "attributes": [{"name": "country", "kind": "categorical"}],
            },
            "horizon_days": self.horizon_days,
            "known_at": self.loads == "known_at",
            "as_of": str(AS_OF),
            "cutoffs": [{"cutoff_at": str(cutoff), "role": role} for cutoff, role in zip(CUTOFFS, roles, strict=True)],
            "sequence_length": 4,
            "history_length": self.random.randint(4, 9),
            "churn": {"activity_types": [self.random.choice(self.streams)["activity_type"]]},
            "fraud": {"model": "reports", "is_fraud": "is_fraud"},
        }

    def instant(self) -> datetime:
        if self.random.random() < 0.2:
            return self.random.choice(CUTOFFS) + self.random.choice([-1, 0, 1]) * SECOND
        # few distinct instants, so that customers have several activities in one
        return datetime(2025, 1, 1) + timedelta(hours=self.random.randint(0, 900) * 4)

    def activity(
        self, stream: str, occurred_at: datetime, customer: int | None = None, loaded_at: datetime | None = None
    ) -> tuple:
        loaded_at = loaded_at or occurred_at + self.random.choice([0, 0, 1, 20]) * timedelta(days=1)
        customer = self.random.randrange(CUSTOMERS) if customer is None else customer
        values = {
            "amount": self.random.choice([None, float("nan"), -5.25, 0.1, 0.2, 19.99, 1e6]),
            "product": self.random.choice([None, "pen", "ink", "cap", ""]),
            "shared_0": self.random.choice([None, 1.5, float("inf"), -3.0]),
            "shared_1": self.random.choice([None, "red", "green", ""]),
        }
        key = self.random.getrandbits(60)
        given = [values[column] for column in self.columns[stream][4:]]
        return (f"a{key}", f"c{customer}", occurred_at, loaded_at, *given)

    def repetition(self, stream: str, customer: int, occurred_at: datetime, loaded_at: datetime | None = None) -> tuple:
        """A row with the key of another one, of the customer or of somebody who is poisoned from the same cutoff on.

        Without `loaded_at` it is loaded at the same time, earlier, or nobody knows when.
        """
        key, _, _, loaded, *_ = self.random.choice(
            [row for row in self.rows[stream] if int(row[1][1:]) % 3 == customer % 3]
        )
        row = list(self.activity(stream, occurred_at, customer, loaded_at))
        row[0] = key
        row[3] = loaded_at or self.random.choice([loaded, loaded and loaded - SECOND, None])
        return tuple(row)

    def write(self, project: Project) -> None:
        types = {"occurred_at": "timestamp", "loaded_at": "timestamp", "amount": "double", "shared_0": "double"}
        with project.connect() as connection:
            connection.execute("create schema if not exists raw")
            for stream, rows in self.rows.items():
                columns = [f"{name} {types.get(name, 'text')}" for name in self.columns[stream]]
                connection.execute(f"create or replace table raw.{stream} ({', '.join(columns)})")
                connection.executemany(f"insert into raw.{stream} values ({', '.join('?' * len(columns))})", rows)
            types = "customer_id text, occurred_at timestamp, known_at timestamp, is_fraud boolean"
            connection.execute(f"create or replace table raw.reports ({types})")
            connection.executemany("insert into raw.reports values (?, ?, ?, ?)", self.reports)
            # Half of the customers, since always; and those whom only the poison gives an activity.
            always = f"cast(null as timestamp) as since from range({CUSTOMERS // 2})"
            dated = f"timestamp '2024-01-01' from range({CUSTOMERS}, {CUSTOMERS + 6})"
            connection.execute(
                f"create or replace table raw.people as select 'c' || range as customer_id, 'FR' as country, {always} "
                f"union all select 'c' || range, 'FR', {dated}"
            )


def build(project: Project, shop: Shop) -> dict[str, list[tuple]]:
    """Every mart as sorted rows of text: a NaN equals itself then, and a difference in the last bit shows.

    Left out: the fingerprint, which is of all of a customer's activities, and what ranks customers against each other.
    """
    shop.write(project)
    project.dbt("--quiet", "build", "--select", *(f"+{mart}" for mart in MARTS))
    marts = {}
    with project.connect() as connection:
        for mart in MARTS:
            columns = [name for name, *_ in connection.execute(f"describe {mart}").fetchall()]
            columns = [name for name in columns if not re.search("fingerprint|_score$|^segment$", name)]
            texts = ", ".join(f'cast("{name}" as text)' for name in columns)
            marts[mart] = sorted(connection.execute(f"select {texts} from {mart}").fetchall(), key=str)
    return marts


def installed(shop: Shop, folder: Path) -> Project:
    models = {name: f"select * from raw.{name}" for name in [*shop.rows, "people", "reports"]}
    return install_package(folder / "project", shop.settings, models)


@pytest.fixture(scope="module", params=[20251101])
def built(request, tmp_path_factory):
    shop = Shop(request.param)
    project = installed(shop, tmp_path_factory.mktemp("laws"))
    return project, shop, build(project, shop)


def of_cutoff(rows: list[tuple], customer: int, cutoff: datetime) -> list[tuple]:
    return [row for row in rows if row[0] == f"c{customer}" and row[1] == str(cutoff)]


def test_the_shop_is_worth_testing(built):
    _, _, marts = built
    boundary = {str(cutoff) for cutoff in CUTOFFS}
    assert sum(row[1] in boundary for row in marts["activity_log"]) > 20, "no activity lies exactly on a cutoff"
    assert {row[1] for row in marts["rfm_features"]} == boundary
    assert len(marts["churn_labels"]) > CUSTOMERS


def test_the_physical_order_of_the_inputs_changes_nothing(built):
    project, shop, before = built
    originals = dict(shop.rows)
    shop.rows = {name: shop.random.sample(rows, len(rows)) for name, rows in originals.items()}
    after = build(project, shop)
    shop.rows = originals
    for mart in MARTS:
        assert after[mart] == before[mart], mart


def expect_nothing_changed_up_to_the_poison(before: dict[str, list[tuple]], after: dict[str, list[tuple]]) -> None:
    compared = 0
    for mart in MARTS_OF_THE_PAST:
        assert after[mart] != before[mart], "the poison did not arrive at the later cutoffs"
        for customer in range(CUSTOMERS + 6):
            for cutoff in CUTOFFS[: customer % 3 + 1]:
                rows = of_cutoff(before[mart], customer, cutoff)
                assert of_cutoff(after[mart], customer, cutoff) == rows, (mart, customer, cutoff)
                compared += len(rows)
    assert compared > 2 * CUSTOMERS


def poison_from_the_cutoffs(shop: Shop) -> None:
    """Customer n is poisoned from cutoff n mod 3 on, beginning exactly on it, with new keys and with keys that exist.

    The last six customers have nothing else, so that they must not even exist at that cutoff.
    """
    poison = []
    for customer in range(CUSTOMERS + 6):
        cutoff = CUTOFFS[customer % 3]
        for stream in shop.rows:
            for delay in (0 * SECOND, 0 * SECOND, SECOND, timedelta(days=3), timedelta(days=40)):
                poison.append((stream, shop.activity(stream, cutoff + delay, customer)))
                poison.append((stream, shop.repetition(stream, customer, cutoff + delay)))
    for stream, row in poison:
        shop.rows[stream].append(row)


def test_nothing_at_or_after_a_cutoff_reaches_its_rows(built):
    project, shop, before = built
    originals = {name: list(rows) for name, rows in shop.rows.items()}
    poison_from_the_cutoffs(shop)
    after = build(project, shop)
    shop.rows = originals
    expect_nothing_changed_up_to_the_poison(before, after)


def test_nothing_at_or_after_a_cutoff_reaches_its_rows_unless_it_was_loaded_later(tmp_path):
    """A later load is today's truth about the same activity: see known_at. Without one the first row stands."""
    shop = Shop(20251103, loads="read")
    project = installed(shop, tmp_path)
    before = build(project, shop)
    poison_from_the_cutoffs(shop)
    expect_nothing_changed_up_to_the_poison(before, build(project, shop))


def test_nothing_outside_the_window_reaches_a_label(built):
    """Who is known at the first cutoff is poisoned one second before it and exactly on the end of its window."""
    project, shop, before = built
    originals = {name: list(rows) for name, rows in shop.rows.items()}
    cutoff = CUTOFFS[0]
    ends_at = cutoff + timedelta(days=shop.horizon_days)
    known = [c for c in range(CUSTOMERS) if of_cutoff(before["churn_labels"], c, cutoff)]
    for customer in known:
        for stream in shop.rows:
            shop.rows[stream].append(shop.activity(stream, cutoff - SECOND, customer))
            shop.rows[stream].append(shop.activity(stream, ends_at, customer))
    # outside the window, and inside it but not known before as_of; the first is known too late to end the risk
    reports = shop.reports
    poison = [(cutoff - SECOND, cutoff), (ends_at, ends_at), (cutoff, AS_OF)]
    shop.reports = reports + [(f"c{customer}", *times, True) for customer in known for times in poison]
    after = build(project, shop)
    shop.rows, shop.reports = originals, reports
    assert len(known) > CUSTOMERS // 2
    for mart in ("churn_labels", "lifetime_value_labels", "purchase_labels", "fraud_labels"):
        at_cutoff = [[row for row in marts[mart] if row[1] == str(cutoff)] for marts in (before, after)]
        assert at_cutoff[0] == at_cutoff[1], mart


def test_money_meets_at_the_end_of_the_window_that_is_the_tasks_own(built):
    """A test of the package, which would stop the build of whoever gives lifetime value a horizon of its own."""
    project, shop, _ = built
    shorter = {"lifetime_value": {"horizon_days": shop.horizon_days - 5}}
    said = project.dbt("build", "--select", "lifetime_value_labels", "--vars", json.dumps(shorter))
    assert "PASS features_and_labels_meet_at_the_cutoff" in said
    assert project.rows("select max(future_revenue) > 0 from lifetime_value_labels") == [(True,)]


def test_a_fraud_that_became_known_late_is_none_before(built):
    """Everybody has a fraud in the first window, known exactly from the second cutoff on: there it is none."""
    project, shop, _ = built

    def as_known(at: datetime) -> list[tuple]:
        known = f"case when known_at < '{at}' then is_fraud when reported_at < '{at}' then false "
        known += "else is_fraud_until_known end"
        return project.rows(
            f"select customer_id, {known} from fraud_labels where cutoff_at = '{CUTOFFS[0]}' order by customer_id"
        )

    build(project, shop)
    before, later = as_known(CUTOFFS[1]), as_known(AS_OF)
    reports = shop.reports
    shop.reports = reports + [(f"c{customer}", CUTOFFS[0], CUTOFFS[1], True) for customer in range(CUSTOMERS)]
    build(project, shop)
    shop.reports = reports
    assert as_known(CUTOFFS[1]) == before
    assert 0 < sum(is_fraud for _, is_fraud in before) < sum(is_fraud for _, is_fraud in later) < len(later)
    assert all(is_fraud for _, is_fraud in as_known(AS_OF))
    assert not project.rows(f"select * from fraud_labels where cutoff_at = '{CUTOFFS[2]}'"), (
        "known frauds are at no risk"
    )


def test_nothing_loaded_at_or_after_a_cutoff_reaches_its_rows(tmp_path):
    """With known_at: what was loaded exactly at cutoff n mod 3 or later, of a new activity or of one that was known."""
    shop = Shop(20251102, loads="known_at")
    project = installed(shop, tmp_path)
    before = build(project, shop)
    poison = []
    for customer in range(CUSTOMERS + 6):
        cutoff = CUTOFFS[customer % 3]
        for stream in shop.rows:
            for delay in (0 * SECOND, SECOND, timedelta(days=40)):
                happened = cutoff - shop.random.randint(-20, 20) * timedelta(days=1)
                poison.append((stream, shop.activity(stream, happened, customer, loaded_at=cutoff + delay)))
                poison.append((stream, shop.repetition(stream, customer, happened, loaded_at=cutoff + delay)))
    for stream, row in poison:
        shop.rows[stream].append(row)
    expect_nothing_changed_up_to_the_poison(before, build(project, shop))


def test_with_known_at_an_activity_is_at_each_cutoff_what_it_was_then(tmp_path):
    """One order, loaded four times: corrected, given to another customer, and dated after the last cutoff. Another one
    lost its customer. What a cutoff knew does not depend on until when anything is known."""
    models = {"orders": "select * from raw.orders"}
    stream = {
        "model": "orders",
        "activity_type": "order",
        "loaded_at": "loaded_at",
        "attributes": [{"name": "amount", "kind": "numerical", "role": "monetary"}],
    }
    cutoffs = ["2025-02-01", "2025-02-02", "2025-02-03", "2025-02-04", "2025-02-05"]
    settings = {
        "streams": [stream],
        "known_at": True,
        "as_of": "2025-06-01",
        "horizon_days": 1,
        "cutoffs": [{"cutoff_at": at, "role": "score"} for at in cutoffs],
    }
    project = install_package(tmp_path / "project", settings, models)
    with project.connect() as connection:
        connection.execute(
            """
            create schema raw;
            create table raw.orders as select * from (values
                ('o1', 'a', timestamp '2025-01-05', 1.0, timestamp '2025-02-01'),
                ('o1', 'a', timestamp '2025-01-06', 2.0, timestamp '2025-02-02'),
                ('o1', 'a', timestamp '2025-01-09', 9.0, timestamp '2025-02-02'),
                ('o1', 'b', timestamp '2025-01-05', 3.0, timestamp '2025-02-03'),
                ('o1', 'b', timestamp '2025-03-01', 4.0, timestamp '2025-02-04'),
                ('o2', 'c', timestamp '2025-01-05', 7.0, timestamp '2025-02-02'),
                ('o2', null, timestamp '2025-01-05', 7.0, timestamp '2025-02-03'),
                ('o3', 'today', timestamp '2025-02-05 10:00:00', 1.0, timestamp '2025-02-05 11:00:00')
            ) as t (activity_id, customer_id, occurred_at, amount, loaded_at)
            """
        )
    project.dbt("--quiet", "build")
    expected = [("a", "2025-02-02", 1.0), ("a", "2025-02-03", 2.0), ("b", "2025-02-04", 3.0), ("c", "2025-02-03", 7.0)]

    def expect_as_known() -> None:
        for mart, amount in {"activity_sequences": "amount", "rfm_features": "spend_sum"}.items():
            sql = f"select customer_id, cast(cutoff_at as date)::text, {amount} from {mart} order by all"
            assert project.rows(sql) == expected, mart

    expect_as_known()
    assert project.rows("select customer_id, amount from activity_log order by all") == [("b", 4.0), ("today", 1.0)]
    project.dbt("--quiet", "build", "--vars", '{"as_of": "2025-02-06"}')
    expect_as_known()
    assert project.rows("select customer_id from activity_log") == [("today",)]

"""The law of increments: whatever happens to the raw tables, a series of incremental runs equals one full refresh.

Real dbt runs on real DuckDB files. The raw tables suffer at random what raw tables suffer: rows come late, come twice,
are corrected in place or by a newer load, move to another customer, vanish; profiles and observed outcomes come, and
the cutoffs move on with new days or because other ones are listed.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from tests.projects import Project, install_package

MARTS = (
    "rejected_activities",
    "superseded_activities",
    "customer_fingerprints",
    "activity_log",
    "attribute_values",
    "cutoffs",
    "customer_cutoffs",
    "customers_without_activity",
    "customer_counts",
    "label_counts",
    "activity_sequences",
    "customer_profiles",
    "rfm_features",
    "content_features",
    "rfm_scores",
    "churn_labels",
    "lifetime_value_labels",
)
INCREMENTAL = ("activity_log", "customer_cutoffs", "activity_sequences", "rfm_features", "content_features")
CUSTOMERS = 30
START = datetime(2025, 1, 1)

SETTINGS = {
    "streams": [
        {
            "model": "orders",
            "activity_type": "order",
            "loaded_at": "loaded_at",
            "attributes": [
                {"name": "product", "kind": "categorical", "role": "item"},
                {"name": "amount", "kind": "numerical", "role": "monetary", "relative": True},
            ],
        },
        {
            "model": "visits",
            "activity_id": ["visit", "page"],
            "activity_type_column": "page",
            "attributes": [{"name": "seconds", "kind": "numerical"}],
        },
    ],
    "profile": {
        "model": "people",
        "valid_from": "valid_from",
        "attributes": [{"name": "country", "kind": "categorical"}],
    },
    "horizon_days": 14,
    "sequence_length": 3,
    "history_length": 5,
    "content_values": 2,
}


class Shop:
    """Orders are append-only and mostly say when they were loaded; visits are changed in place and never say it."""

    def __init__(self, seed: int, settings: dict, lists_cutoffs: bool = False):
        self.random = random.Random(seed)
        self.settings = settings
        self.lists_cutoffs = lists_cutoffs
        self.day = 60
        self.orders: list[tuple] = []
        self.visits: list[tuple] = []
        self.people: list[tuple] = []
        self.departures: list[tuple] = []
        for _ in range(200):
            self.order(self.instant())
            self.visit(self.instant())
        self.what_is_known_beside_activities()
        self.other_cutoffs()

    def instant(self) -> datetime:
        return START + timedelta(hours=self.random.randrange(self.day * 4) * 6)

    def customer(self) -> str:
        return f"c{self.random.randrange(CUSTOMERS)}"

    @property
    def now(self) -> datetime:
        return START + timedelta(days=self.day, seconds=len(self.orders))

    def order(self, at: datetime, key: int | None = None, customer: str | None = None) -> None:
        key = len(self.orders) if key is None else key
        product = self.random.choice(["cup", "plate", "bowl", None])
        amount = self.random.choice([None, 4.5, 10.0, -4.5, 99.99])
        loaded_at = None if self.random.random() < 0.1 else self.now
        self.orders.append((f"o{key}", customer or self.customer(), at, product, amount, loaded_at))

    def visit(self, at: datetime) -> None:
        page = self.random.choice(["home", "basket", "help"])
        self.visits.append((self.random.getrandbits(40), self.customer(), at, page, float(self.random.randrange(99))))

    # -- What happens to raw tables

    def late_rows(self) -> None:
        for _ in range(4):
            self.order(self.instant())
            self.visit(self.instant())

    def copies(self) -> None:
        self.orders += self.random.sample(self.orders, 3)
        self.visits += self.random.sample(self.visits, 3)

    def corrections(self) -> None:
        for key, customer, at, *_ in self.random.sample(self.orders, 4):
            moved = self.random.choice([at, at - timedelta(days=3)])
            self.order(moved, key=int(key[1:]), customer=self.random.choice([customer, None]))
        for key, _, at, product, amount, loaded_at in self.random.sample(self.orders, 4):
            moved = self.random.choice([at, at - timedelta(days=2), at + timedelta(days=2)])
            self.orders.append((key, self.customer(), moved, product, (amount or 0) + 1, loaded_at))
        for place, (key, customer, at, product, amount, loaded_at) in enumerate(self.orders):
            if loaded_at is None and self.random.random() < 0.3:
                self.orders[place] = (key, customer, at, product, (amount or 0) + 1, None)
        for place in self.random.sample(range(len(self.visits)), 4):
            visit, _, at, page, seconds = self.visits[place]
            self.visits[place] = (visit, self.customer(), at, page, seconds + 1)

    def deletions(self) -> None:
        for rows in (self.orders, self.visits):
            for _ in range(4):
                rows.pop(self.random.randrange(len(rows)))

    def a_customer_is_forgotten(self) -> None:
        gone = self.customer()
        self.orders = [row for row in self.orders if row[1] != gone]
        self.visits = [row for row in self.visits if row[1] != gone]

    def wrong_rows(self) -> None:
        self.orders.append((None, self.customer(), self.instant(), "cup", 1.0, self.now))
        self.visits.append((1, None, self.instant(), "home", 1.0))
        self.visits.append((2, "only_wrong", None, "home", 1.0))
        for key, customer, at, product, amount, _ in self.random.sample(self.orders[:-1], 4):
            wrong = self.random.choice([(None, at), (customer, None)])  # a later load, without customer or without time
            self.orders.append((key, *wrong, product, amount, self.now))

    def a_new_day(self) -> None:
        self.day += 1
        self.order(START + timedelta(days=self.day, hours=-1))

    def what_is_known_beside_activities(self) -> None:
        for _ in range(6):
            self.people.append((self.customer(), self.random.choice(["FR", "DE", None]), self.instant()))
            self.departures.append((self.customer(), self.instant()))
        self.people = list({(customer, at): (customer, country, at) for customer, country, at in self.people}.values())

    def other_cutoffs(self) -> None:
        """Those of one role stay, the others move."""
        if self.lists_cutoffs:
            train = self.random.randint(15, 20)
            days = {"train": train, "evaluate": train + 14 + self.random.randint(0, 5), "score": 55}
            self.settings["cutoffs"] = [
                {"cutoff_at": str(START + timedelta(days=day)), "role": role} for role, day in days.items()
            ]

    def nothing(self) -> None:
        pass

    def write(self, project: Project) -> None:
        """The raw tables, in another order each time, and the settings."""
        project.variables = self.settings
        definitions = {
            "orders": "activity_id text, customer_id text, occurred_at timestamp, product text, amount double, "
            "loaded_at timestamp",
            "visits": "visit bigint, customer_id text, occurred_at timestamp, page text, seconds double",
            "people": "customer_id text, country text, valid_from timestamp",
            "departures": "customer_id text, occurred_at timestamp",
        }
        with project.connect() as connection:
            connection.execute("create schema if not exists raw")
            for table, columns in definitions.items():
                rows = getattr(self, table)
                places = ", ".join("?" * len(rows[0]))
                connection.execute(f"create or replace table raw.{table} ({columns})")
                connection.executemany(
                    f"insert into raw.{table} values ({places})", self.random.sample(rows, len(rows))
                )


EVENTS = (
    Shop.late_rows,
    Shop.copies,
    Shop.corrections,
    Shop.deletions,
    Shop.a_customer_is_forgotten,
    Shop.wrong_rows,
    Shop.a_new_day,
    Shop.what_is_known_beside_activities,
    Shop.other_cutoffs,
)


def marts(project: Project) -> dict[str, list[tuple]]:
    """Every mart as sorted rows of text: a difference in the last bit shows."""
    found = {}
    with project.connect(read_only=True) as connection:
        for mart in MARTS:
            columns = sorted(name for name, *_ in connection.execute(f"describe {mart}").fetchall())
            texts = ", ".join(f'cast("{name}" as text)' for name in columns)
            rows = connection.execute(f"select {texts} from {mart}").fetchall()
            found[mart] = [tuple(columns), *sorted(rows, key=str)]
    return found


def run(project: Project, *options: str) -> None:
    project.dbt("--quiet", "run", "--select", *(f"+{mart}" for mart in MARTS), *options)


@pytest.fixture
def shop(request, tmp_path):
    changes = getattr(request, "param", {})
    models = {name: f"select * from raw.{name}" for name in ("orders", "visits", "people", "departures")}
    project = install_package(tmp_path / "project", SETTINGS, models)
    return Shop(7, {**SETTINGS, **changes}, lists_cutoffs=bool(changes)), project


def refreshed(shop: Shop, project: Project, scratch) -> dict[str, list[tuple]]:
    """What one full refresh of the same raw tables gives, in a database of its own; what dbt parsed stays."""
    scratch.mkdir(exist_ok=True)
    other = Project(project.folder, scratch)
    other.database.unlink(missing_ok=True)
    shop.write(other)
    run(other)
    return marts(other)


@pytest.mark.parametrize(
    "shop",
    [{}, {"known_at": True, "at_risk_days": 20, "churn": {"observed": {"model": "departures"}}}],
    ids=["plain", "known_at, listed cutoffs, observed churn"],
    indirect=True,
)
def test_any_series_of_increments_equals_one_full_refresh(shop, tmp_path):
    shop, project = shop
    shop.write(project)
    run(project)
    before = marts(project)
    for turn in range(4):
        # all of them once, then a random mixture, and a turn in which nothing happens
        events = [EVENTS[:4], EVENTS[4:], shop.random.sample(EVENTS, 4), [Shop.nothing]][turn]
        for event in events:
            event(shop)
        shop.write(project)
        run(project)
        after = marts(project)
        expected = before if events == [Shop.nothing] else refreshed(shop, project, tmp_path / "refreshed")
        for mart in MARTS:
            assert after[mart] == expected[mart], (turn, [event.__name__ for event in events], mart)
        if events != [Shop.nothing]:
            assert {mart for mart in MARTS if after[mart] != before[mart]} >= set(INCREMENTAL)
        before = after


def test_only_touched_customers_are_built_anew(shop):
    """Every row is marked by hand; after the run the mark is gone where a customer was touched, and nowhere else."""
    shop, project = shop
    shop.write(project)
    run(project)
    marks = {"activity_log": "stream", "activity_sequences": "activity_type"}
    counts = {
        **dict.fromkeys(("customer_cutoffs", "rfm_features"), "activity_count"),
        "content_features": "activity_type_distinct",
    }
    with project.connect() as connection:
        for mart, column in marks.items():
            connection.execute(f"update {mart} set {column} = 'marked'")
        for mart, column in counts.items():
            connection.execute(f"update {mart} set {column} = -1")
    # before all other orders, so that no cutoff moves
    shop.order(START, customer="c1")
    # of rfm_scores, which are built whole
    shop.settings["rfm_period"] = "month"
    shop.write(project)
    run(project)
    for mart, column in (marks | counts).items():
        unmarked = project.rows(
            f"select distinct customer_id from {mart} where cast({column} as text) not in ('marked', '-1')"
        )
        assert unmarked == [("c1",)], mart


def test_a_customer_deleted_at_the_source_is_gone_from_every_mart(shop):
    """Also from the faces of the embeddings, which the trainer loaded before, and from the predictions.

    What the trainer loaded stays in its own table until `prune`: dbt does not write into its sources.
    """
    shop, project = shop
    shop.write(project)
    project.dbt("--quiet", "build")
    project.caspr("--gpus", "0", "--epochs", "1", "--batch-size", "64")
    project.dbt("--quiet", "build", "--select", "source:caspr_trained+")
    tables = project.rows(
        "select schema_name || '.' || table_name from duckdb_columns() "
        "where column_name = 'customer_id' and schema_name <> 'raw' and not internal"
    )
    names = {table for (table,) in tables} - {f"main.{model}" for model in ("orders", "visits", "people", "departures")}
    assert {"main_trained.customer_embeddings", "main.customer_embeddings", "main.churn_predictions"} <= names
    assert {f"main.{mart}" for mart in INCREMENTAL} <= names
    everybody = {name: {row[0] for row in project.rows(f"select customer_id from {name}")} for name in names}
    # Without the setting `fraud` its tables are empty.
    partial = {
        f"main.{mart}" for mart in ("rejected_activities", "superseded_activities", "customers_without_activity")
    }
    partial |= {name for name in names if not everybody[name]}
    gone = sorted(set.intersection(*(everybody[name] for name in names - partial)))[0]
    for table in ("orders", "visits", "people", "departures"):
        place = 0 if table in ("people", "departures") else 1
        setattr(shop, table, [row for row in getattr(shop, table) if row[place] != gone])
    shop.write(project)
    project.dbt("--quiet", "build")
    left = {name for name in names if project.rows(f"select 1 from {name} where customer_id = '{gone}' limit 1")}
    assert left == {"main_trained.customer_embeddings", "main_trained.control_embeddings"}
    project.caspr("prune")
    assert not project.rows(f"select 1 from main_trained.customer_embeddings where customer_id = '{gone}'")
    assert project.rows("select count(*) > 0 from customer_embeddings") == [(True,)]


def test_a_changed_setting_builds_everybody_anew(shop, tmp_path):
    shop, project = shop
    shop.write(project)
    run(project)
    shop.settings |= {"history_length": 4, "streams": shop.settings["streams"][:1]}
    shop.write(project)
    run(project)
    assert marts(project) == refreshed(shop, project, tmp_path / "refreshed")


def test_a_run_that_broke_off_is_finished_by_the_next(shop, tmp_path):
    """The log is built, then the marts fail: the next run must not believe that all is done."""
    shop, project = shop
    shop.write(project)
    run(project)
    shop.corrections()
    shop.deletions()
    shop.write(project)
    project.dbt("--quiet", "run", "--select", "+activity_log")
    run(project)
    assert marts(project) == refreshed(shop, project, tmp_path / "refreshed")

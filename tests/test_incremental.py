"""The law of increments: whatever happens to the raw tables, a series of incremental runs equals one full refresh.

Real dbt runs on real DuckDB files. The raw tables suffer at random what raw tables suffer: rows come late, come twice,
are corrected in place or by a newer load, move to another customer, vanish; and with new days the cutoffs move on.
"""

from __future__ import annotations

import random
import shutil
from datetime import datetime, timedelta

import pytest

from tests.projects import Project, install_package

MARTS = (
    "rejected_activities",
    "customer_fingerprints",
    "activity_log",
    "cutoffs",
    "customer_cutoffs",
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
    "horizon_days": 14,
    "sequence_length": 3,
    "history_length": 5,
    "content_values": 2,
}


class Shop:
    """Two raw tables: orders are append-only with a time of loading, visits are changed in place and have none."""

    def __init__(self, seed: int, settings: dict):
        self.random = random.Random(seed)
        self.settings = settings
        self.day = 60
        self.orders: list[tuple] = []
        self.visits: list[tuple] = []
        for _ in range(200):
            self.order(self.instant())
            self.visit(self.instant())

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
        self.orders.append((f"o{key}", customer or self.customer(), at, product, amount, self.now))

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

    def a_new_day(self) -> None:
        self.day += 1
        self.order(START + timedelta(days=self.day, hours=-1))

    def nothing(self) -> None:
        pass

    def write(self, project: Project) -> None:
        orders, visits = (self.random.sample(rows, len(rows)) for rows in (self.orders, self.visits))
        with project.connect() as connection:
            connection.execute("create schema if not exists raw")
            connection.execute(
                "create or replace table raw.orders (activity_id text, customer_id text, occurred_at timestamp, "
                "product text, amount double, loaded_at timestamp)"
            )
            connection.execute(
                "create or replace table raw.visits (visit bigint, customer_id text, occurred_at timestamp, "
                "page text, seconds double)"
            )
            connection.executemany("insert into raw.orders values (?, ?, ?, ?, ?, ?)", orders)
            connection.executemany("insert into raw.visits values (?, ?, ?, ?, ?)", visits)


EVENTS = (
    Shop.late_rows,
    Shop.copies,
    Shop.corrections,
    Shop.deletions,
    Shop.a_customer_is_forgotten,
    Shop.wrong_rows,
    Shop.a_new_day,
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
    settings = {**SETTINGS, **getattr(request, "param", {})}
    models = {name: f"select * from raw.{name}" for name in ("orders", "visits")}
    return Shop(7, settings), install_package(tmp_path / "project", settings, models)


def refreshed(shop: Shop, project: Project, scratch) -> dict[str, list[tuple]]:
    """What one full refresh of the same raw tables gives, in a database of its own."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    other = Project(project.folder, scratch)
    shop.write(other)
    run(other)
    return marts(other)


@pytest.mark.parametrize("shop", [{}, {"known_at": True, "at_risk_days": 20}], ids=["plain", "known_at"], indirect=True)
def test_any_series_of_increments_equals_one_full_refresh(shop, tmp_path):
    shop, project = shop
    shop.write(project)
    run(project)
    before = marts(project)
    for turn in range(5):
        # all of them once, alone or together, then a random mixture, and a turn in which nothing happens
        events = [EVENTS[:2], EVENTS[2:4], EVENTS[4:], shop.random.sample(EVENTS, 4), [Shop.nothing]][turn]
        for event in events:
            event(shop)
        shop.write(project)
        run(project)
        after = marts(project)
        expected = refreshed(shop, project, tmp_path / "refreshed")
        for mart in MARTS:
            assert after[mart] == expected[mart], (turn, [event.__name__ for event in events], mart)
        changed = {mart for mart in MARTS if after[mart] != before[mart]}
        assert changed == set() if events == [Shop.nothing] else changed >= set(INCREMENTAL)
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
    shop.write(project)
    run(project)
    for mart, column in (marks | counts).items():
        unmarked = project.rows(
            f"select distinct customer_id from {mart} where cast({column} as text) not in ('marked', '-1')"
        )
        assert unmarked == [("c1",)], mart


def test_a_customer_deleted_at_the_source_is_gone_from_every_table(shop):
    """Also from the embeddings, which the trainer loaded before, and from the predictions."""
    shop, project = shop
    shop.write(project)
    project.dbt("--quiet", "build")
    project.caspr("--gpus", "0", "--epochs", "1", "--batch-size", "64")
    project.dbt("--quiet", "build", "--select", "source:caspr_trained+")
    tables = [
        row[0]
        for row in project.rows(
            "select table_name from duckdb_columns() where schema_name = 'main' and column_name = 'customer_id'"
        )
    ]
    assert {"customer_embeddings", "churn_predictions", "lifetime_value_predictions", *INCREMENTAL} <= set(tables)
    everybody = {
        table: {row[0] for row in project.rows(f"select distinct customer_id from {table}")} for table in tables
    }
    gone = sorted(set.intersection(*(names for table, names in everybody.items() if table != "rejected_activities")))[0]
    shop.orders = [row for row in shop.orders if row[1] != gone]
    shop.visits = [row for row in shop.visits if row[1] != gone]
    shop.write(project)
    project.dbt("--quiet", "build")
    for table in tables:
        assert project.rows(f"select count(*) from {table} where customer_id = '{gone}'") == [(0,)], table
    assert project.rows("select count(*) > 0 from customer_embeddings") == [(True,)]


def test_a_changed_setting_builds_everybody_anew(shop, tmp_path):
    shop, project = shop
    shop.write(project)
    run(project)
    project.variables = {"caspr": {**shop.settings, "history_length": 4, "streams": shop.settings["streams"][:1]}}
    run(project)
    other = Project(project.folder, tmp_path / "other", project.variables)
    other.scratch.mkdir()
    shop.write(other)
    run(other)
    assert marts(project) == marts(other)


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

"""The demo shop: the same every time, small, dirty as a real one, and with the patterns that it promises."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet
import pytest

from caspr_train import simulate
from caspr_train.errors import DataError, UsageError

SEEDS = Path(__file__).resolve().parents[1] / "seeds"
TABLES = tuple(simulate.SCHEMAS)
CUTOFFS = ("2025-01-01", "2025-04-01")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The demo shop as the seeds hold it, written anew."""
    return simulate.write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def raw(shop):
    return {table: pd.read_csv(path, parse_dates=_times(table)) for table, path in shop.items()}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The latest rows of a shop large enough for the patterns' shares to be steady."""
    paths = simulate.write_shop(tmp_path_factory.mktemp("large"), 6000, 7, "parquet")
    keys = {
        "raw_customers": ["customer_id"],
        "raw_orders": ["order_id"],
        "raw_order_lines": ["order_id", "line_number"],
        "raw_web_visits": ["visit_id"],
        "raw_support_tickets": ["ticket_id"],
        "raw_fraud_reports": ["report_id"],
    }
    tables = {}
    for table, path in paths.items():
        rows = pd.read_parquet(path)
        if "loaded_at" in rows:
            rows = rows.sort_values("loaded_at", kind="stable")
        tables[table] = rows.drop_duplicates(keys[table], keep="last")
    return tables


def _times(table):
    return [field.name for field in simulate.SCHEMAS[table] if field.name.endswith(("_at", "_on"))]


def _bytes(paths):
    return {table: path.read_bytes() for table, path in paths.items()}


def _recently_active(tables, cutoff):
    """Per customer active in the 45 days before the cutoff: whether they order in the 90 days from it."""
    begins, cutoff, ends = cutoff - pd.Timedelta(days=45), cutoff, cutoff + pd.Timedelta(days=90)
    orders = tables["raw_orders"].query("kind == 'order'")
    tickets, visits = tables["raw_support_tickets"], tables["raw_web_visits"]
    moments = pd.concat(
        [
            table.set_index("customer_id")[column]
            for table, column in (
                (orders, "ordered_at"),
                (visits, "visited_at"),
                (tickets, "opened_at"),
                (tickets, "answered_at"),
            )
        ]
    )
    active = moments[(moments >= begins) & (moments < cutoff)].index.dropna().unique()
    later = orders[(orders.ordered_at >= cutoff) & (orders.ordered_at < ends)].customer_id
    return pd.Series(~active.isin(later), index=active, name="is_churned")


# -- the files


@pytest.mark.parametrize("file_format", simulate.FILE_FORMATS)
def test_same_seed_same_bytes(tmp_path, file_format):
    one = simulate.write_shop(tmp_path / "one", 300, 11, file_format)
    two = simulate.write_shop(tmp_path / "two", 300, 11, file_format)
    other = simulate.write_shop(tmp_path / "other", 300, 12, file_format)
    assert _bytes(one) == _bytes(two)
    assert all(one[table].read_bytes() != other[table].read_bytes() for table in TABLES)


def test_seeds_are_what_simulate_writes_now(shop):
    stale = [table for table in TABLES if (SEEDS / f"{table}.csv").read_bytes() != shop[table].read_bytes()]
    assert not stale, f"{', '.join(stale)} in seeds/ differ from what `caspr_train simulate` writes; run it"


def test_seeds_take_a_little_more_than_three_megabytes_at_most():
    assert sum((SEEDS / f"{table}.csv").stat().st_size for table in TABLES) <= 3_200_000


def test_both_formats_hold_the_same_rows(tmp_path):
    csv = simulate.write_shop(tmp_path / "csv", 200, 7, "csv")
    parquet = simulate.write_shop(tmp_path / "parquet", 200, 7, "parquet")
    for table, schema in simulate.SCHEMAS.items():
        options = pyarrow.csv.ConvertOptions(column_types=schema, strings_can_be_null=True)
        # Parquet knows no whole seconds and stores milliseconds
        stored = pyarrow.parquet.read_table(parquet[table]).cast(schema)
        assert pyarrow.csv.read_csv(csv[table], convert_options=options).equals(stored)


def test_more_chunks_leave_the_first_customers_as_they_are(tmp_path, monkeypatch):
    """What is in memory is one chunk, and no chunk depends on those after it."""
    monkeypatch.setattr(simulate, "CHUNK", 100)
    done = []
    few = simulate.write_shop(tmp_path / "few", 200, 7, "csv")
    many = simulate.write_shop(tmp_path / "many", 350, 7, "csv", progress=lambda *at: done.append(at))
    assert done == [(100, 350), (200, 350), (300, 350), (350, 350)]
    for table in TABLES:
        assert many[table].read_bytes().startswith(few[table].read_bytes())
    customers = pd.read_csv(many["raw_customers"])
    assert customers.customer_id.nunique() == 350
    visits = pd.read_csv(many["raw_web_visits"]).drop_duplicates()
    assert visits.groupby("visit_id").visited_at.nunique().max() == 1  # identifiers go on over chunks


@pytest.mark.parametrize("customers", [1, 2])
def test_a_tiny_shop_is_a_shop(tmp_path, customers):
    paths = simulate.write_shop(tmp_path, customers, 7, "csv")
    assert pd.read_csv(paths["raw_customers"]).customer_id.nunique() == customers


def test_a_failure_leaves_the_old_files_and_no_drafts(tmp_path):
    before = _bytes(simulate.write_shop(tmp_path, 50, 7, "csv"))

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate.write_shop(tmp_path, 60, 8, "csv", progress=stop)
    assert {path.stem: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"customers": 0}, "customers is 0"), ({"seed": -1}, "seed is -1"), ({"file_format": "xls"}, "'xls'")],
)
def test_arguments_without_sense_are_named(tmp_path, arguments, named):
    with pytest.raises(UsageError, match=named):
        simulate.write_shop(tmp_path / "shop", **arguments)
    assert not (tmp_path / "shop").exists()


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "shop").write_text("")
    with pytest.raises(DataError, match="shop"):
        simulate.write_shop(tmp_path / "shop", 10)


# -- the dirt


def test_the_dirt_is_there(raw):
    customers, orders, lines = raw["raw_customers"], raw["raw_orders"], raw["raw_order_lines"]
    visits, tickets = raw["raw_web_visits"], raw["raw_support_tickets"]
    assert {"United Kingdom", "UK"} <= set(customers.country)
    for table, column in (
        (customers, "age_band"),
        (customers, "country"),
        (orders, "payment_method"),
        (visits, "customer_id"),
        (visits, "device"),
        (tickets, "topic"),
        (tickets, "answered_at"),
    ):
        assert 0 < table[column].isna().mean() < 0.8, column
    for table, key in (
        (customers, ["customer_id"]),
        (orders, ["order_id"]),
        (lines, ["order_id", "line_number"]),
        (visits, ["visit_id"]),
        (tickets, ["ticket_id"]),
        (raw["raw_fraud_reports"], ["report_id"]),
    ):
        assert table.duplicated().any(), f"no exact copy among {key}"
        if "loaded_at" in table:
            assert table.drop_duplicates().groupby(key).loaded_at.nunique().max() > 1, f"no row of {key} loaded twice"
    assert ((orders.loaded_at - orders.ordered_at) > pd.Timedelta(days=2)).any()
    refunds = orders[orders.kind == "refund"].order_id
    assert (lines[lines.order_id.isin(refunds)].quantity < 0).all()
    assert (lines[~lines.order_id.isin(refunds)].quantity > 0).all()
    same_second = visits.merge(orders, left_on=["customer_id", "visited_at"], right_on=["customer_id", "ordered_at"])
    assert len(same_second) > 50


def test_moments_lie_within_the_two_years(raw):
    for table, column in (
        ("raw_orders", "ordered_at"),
        ("raw_web_visits", "visited_at"),
        ("raw_support_tickets", "opened_at"),
        ("raw_support_tickets", "answered_at"),
        ("raw_customers", "fraud_confirmed_at"),
        ("raw_fraud_reports", "occurred_at"),
        ("raw_fraud_reports", "decided_at"),
    ):
        moments = raw[table][column].dropna()
        assert moments.between("2023-07-01", "2025-07-01", inclusive="left").all(), column
    last = max(raw["raw_orders"].ordered_at.max(), raw["raw_web_visits"].visited_at.max())
    assert last >= pd.Timestamp("2025-06-30")  # so that the day after the last activity is 2025-07-01
    for table in TABLES:
        if "loaded_at" in raw[table]:
            at = raw[table].iloc[:, 1 if table == "raw_customers" else 2]
            assert (raw[table].loaded_at > at).all()


def test_ids_join(raw):
    customers = set(raw["raw_customers"].customer_id)
    for table in ("raw_orders", "raw_web_visits", "raw_support_tickets", "raw_fraud_reports"):
        assert set(raw[table].customer_id.dropna()) <= customers
    assert set(raw["raw_order_lines"].order_id) == set(raw["raw_orders"].order_id)


# -- the shop


def test_it_has_seasons_and_hours(large):
    orders = large["raw_orders"].query("kind == 'order'")
    month = orders.ordered_at.dt.to_period("M").value_counts()
    assert month["2024-12"] > 1.3 * month["2025-01"]
    hour = orders.ordered_at.dt.hour.value_counts()
    assert hour[20] > 5 * hour[3]


def test_fraudulent_accounts_have_their_own_rhythm(large):
    customers, orders = large["raw_customers"], large["raw_orders"]
    confirmed = customers.dropna(subset="fraud_confirmed_at")
    assert 0.008 < len(confirmed) / len(customers) < 0.025
    is_theirs = orders.customer_id.isin(confirmed.customer_id)
    of_fraud, of_others = orders[is_theirs], orders[~is_theirs]
    bought = of_fraud[of_fraud.kind == "order"]
    assert (bought.ordered_at.dt.hour < 5).all()
    assert (of_fraud.kind == "refund").mean() > 5 * (of_others.kind == "refund").mean()
    last = confirmed.customer_id.map(bought.groupby("customer_id").ordered_at.max())
    assert (confirmed.fraud_confirmed_at > last).all()


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_a_customer_who_was_not_answered_leaves(large, cutoff):
    """Among the recently active: the last ticket unanswered or answered, which no count tells, decides."""
    cutoff = pd.Timestamp(cutoff)
    churn = _recently_active(large, cutoff)
    tickets = large["raw_support_tickets"]
    known = tickets[(tickets.opened_at < cutoff) & (tickets.opened_at >= cutoff - pd.Timedelta(days=120))]
    known = known.assign(answered=known.answered_at.where(known.answered_at < cutoff))
    # written twice and answered once: the same activities, in the order of those who leave or of those who stay
    both = known.groupby("customer_id").agg(
        opened=("opened_at", "count"),
        answered=("answered", "count"),
        last=("opened_at", "max"),
        answer=("answered", "max"),
    )
    both = both.query("opened == 2 and answered == 1").join(churn, how="inner")
    leaving, staying = both[both.answer < both["last"]], both[both.answer > both["last"]]
    assert min(len(leaving), len(staying)) > 100
    assert leaving.is_churned.mean() > 0.9
    assert staying.is_churned.mean() < 0.55
    # enough of them to matter
    assert len(leaving) > 0.2 * churn.sum()


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_the_order_of_pages_announces_a_project(large, cutoff):
    cutoff = pd.Timestamp(cutoff)
    visits = large["raw_web_visits"]
    visits = visits[(visits.visited_at < cutoff) & (visits.visited_at >= cutoff - pd.Timedelta(days=45))]
    visits = visits[visits.page.isin(["compare", "reviews", "cart"])].sort_values(["customer_id", "visited_at"])
    pages = visits.groupby("customer_id").page.agg(tuple)
    pages = pages[pages.map(lambda seen: len(seen) == 3 and len(set(seen)) == 3)]
    lines = large["raw_order_lines"].merge(large["raw_orders"], on="order_id")
    later = lines[(lines.ordered_at >= cutoff) & (lines.ordered_at < cutoff + pd.Timedelta(days=90))]
    revenue = (later.quantity * later.unit_price).groupby(later.customer_id).sum().reindex(pages.index).fillna(0.0)
    is_project = pages == ("compare", "reviews", "cart")
    assert min(is_project.sum(), (~is_project).sum()) > 80
    assert revenue[is_project].mean() > 3 * revenue[~is_project].mean()
    everybody = (later.quantity * later.unit_price).sum()
    assert revenue[is_project].sum() > 0.08 * everybody


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_the_order_of_visits_tells_a_takeover_from_a_new_device(large, cutoff):
    cutoff = pd.Timestamp(cutoff)
    visits, reports = large["raw_web_visits"], large["raw_fraud_reports"]
    assert (reports.decided_at - reports.occurred_at >= pd.Timedelta(days=3)).all()
    known = reports[(reports.verdict == "fraud") & (reports.decided_at < cutoff)].customer_id
    visits = visits[(visits.visited_at < cutoff) & (visits.visited_at >= cutoff - pd.Timedelta(days=60))]
    resets = (
        visits[visits.page == "password_reset"].groupby("customer_id").visited_at.max().drop(known, errors="ignore")
    )
    near = visits.merge(resets.rename("reset_at"), on="customer_id")
    near = near[(near.visited_at - near.reset_at).abs() < pd.Timedelta(hours=1)].sort_values(
        ["customer_id", "visited_at"]
    )
    pages = near[near.page.isin(["home", "password_reset", "account"])].groupby("customer_id").page.agg(tuple)
    pages = pages[pages.map(len) == 3]
    later = reports[(reports.verdict == "fraud") & (reports.occurred_at >= cutoff)]
    is_fraud = pages.index.isin(later[later.occurred_at < cutoff + pd.Timedelta(days=90)].customer_id)
    is_takeover = (pages == ("home", "password_reset", "account")).to_numpy()
    assert min(is_takeover.sum(), (~is_takeover).sum()) > 80
    assert is_fraud[is_takeover].mean() > 0.5
    assert is_fraud[~is_takeover].mean() < 0.15


@pytest.mark.parametrize("cutoff", CUTOFFS)
def test_a_fair_share_churns(large, cutoff):
    cutoff = pd.Timestamp(cutoff)
    orders, visits = large["raw_orders"], large["raw_web_visits"]
    before = set(orders[orders.ordered_at < cutoff].customer_id) | set(
        visits[visits.visited_at < cutoff].customer_id.dropna()
    )
    later = orders[(orders.kind == "order") & (orders.ordered_at >= cutoff)]
    later = set(later[later.ordered_at < cutoff + pd.Timedelta(days=90)].customer_id)
    assert 0.30 < np.mean([customer not in later for customer in before]) < 0.45

"""The demo shop: a simulated mail-order shop whose raw tables hold what a real one's hold, patterns and dirt included.

Nothing here is real data. Three patterns are planted whose meaning lies in the ORDER of events, not in their number:

* *Leaving.* Before most departures a ticket is answered, the customer writes again and hears nothing: opened,
  answered, opened. Customers who stay have as many tickets and answers in another order: opened, opened, answered.
  Both then look at product and account pages for some weeks without ordering; the one comes back, the other never.
* *A project.* The pages compare, reviews, cart in this order start several large orders within the next three months.
  The same three pages in any other order mean nothing.
* *A takeover.* The owner looks at the shop, then somebody resets the password from another device and opens the
  account: within three months gift cards are bought with it, and later the owner reports the fraud. The same three
  visits in any other order (an owner with a new device) mean nothing.

Customers are made in chunks, each with a generator of its own, so that a million of them need no more memory than one
chunk, and the customers of a chunk are the same however many chunks follow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from caspr_train.errors import DataError, UsageError

STARTS_AT = np.datetime64("2023-07-01T00:00:00", "s")
ENDS_AT = np.datetime64("2025-07-01T00:00:00", "s")  # half-open: the last activity lies before it
DAY = 86_400
DAYS = int((ENDS_AT - STARTS_AT).astype(np.int64)) // DAY
CHUNK = 20_000
FILE_FORMATS = ("csv", "parquet")

# -- the shop
CATEGORIES = ("books", "toys", "garden", "kitchen", "sports", "beauty", "audio", "gift_card")
GIFT_CARD = CATEGORIES.index("gift_card")
PRODUCTS_PER_CATEGORY = 25
TYPICAL_PRICE = (12.0, 16.0, 21.0, 24.0, 28.0, 14.0, 36.0, 25.0)
COUNTRIES = ("Germany", "France", "Netherlands", "United Kingdom", "UK")  # one country in two spellings
CHANNELS = ("search", "social", "referral", "email", "store")
AGE_BANDS = ("18-24", "25-34", "35-49", "50-64", "65+")
PAYMENTS = ("card", "paypal", "invoice", "gift_card")
PAGES = ("home", "search", "product", "account", "compare", "reviews", "cart", "checkout", "password_reset")
HOME, SEARCH, PRODUCT, ACCOUNT, COMPARE, REVIEWS, CART, CHECKOUT, PASSWORD_RESET = range(len(PAGES))
DEVICES = ("mobile", "desktop", "tablet")
VERDICTS = ("cleared", "fraud")
TOPICS = ("delivery", "damaged", "invoice", "returns", "account")

# -- how its customers behave; rates are per year, durations in days
SHARE_JOINED_BEFORE = 0.35
SHARE_FRAUD = 0.015
ORDERS_A_YEAR, ORDER_RATE_SHAPE, GAP_SHAPE = 6.5, 6.0, 3.0
DEPARTURES_A_YEAR, DEPARTURE_SHAPE = 0.36, 3.0
SHARE_ANNOUNCED = 0.92  # departures that the ticket pattern announces
DECOY_TICKETS_A_YEAR = 0.42  # the same tickets in the order of those who stay
PLAIN_TICKETS_A_YEAR = 0.06
PROJECTS_A_YEAR, DECOY_BROWSING_A_YEAR = 0.50, 0.50
SHARE_PROJECTS_DONE = 0.90
VISITS_A_YEAR = 1.3
TAKEOVERS_BEGIN = 365  # day; before it nobody tries
TAKEOVERS_A_YEAR, DECOY_RESETS_A_YEAR = 0.30, 0.35
SHARE_TAKEOVERS_USED = 0.9
SHARE_DECOYS_REPORTED = 0.10  # and cleared
LINGER_DAYS = (50.0, 130.0)

SHORTEST_STAY_DAYS, DRIFT = 20.0, 0.3
PROJECT_DAYS = (8.0, 85.0)
TAKEOVER_DAYS, DAYS_TO_VERDICT = (30.0, 88.0), (3, 31)
LINES_MORE = 0.34  # mean lines of an order beyond the first
SHARE_LARGE_ANYWAY = 0.02
SHARE_CHECKOUT_SEEN = 0.10
SHARE_ANONYMOUS = 0.05
SHARE_LATE = 0.02
MOST_ORDERS = 64  # in two years, at a customer's own pace; the fastest one in a million comes near it
ORDINARY, PROJECT, FRAUD = range(3)
# the first of these starts a project; the others are the same pages in another order
BROWSING = np.array(
    [
        [COMPARE, REVIEWS, CART],
        [COMPARE, CART, REVIEWS],
        [REVIEWS, COMPARE, CART],
        [REVIEWS, CART, COMPARE],
        [CART, COMPARE, REVIEWS],
        [CART, REVIEWS, COMPARE],
    ]
)

# home is seen from the owner's usual device, the others from another: the first of these is a takeover, the rest is not
RESETS = np.array(
    [
        [HOME, PASSWORD_RESET, ACCOUNT],
        [HOME, ACCOUNT, PASSWORD_RESET],
        [PASSWORD_RESET, HOME, ACCOUNT],
        [PASSWORD_RESET, ACCOUNT, HOME],
        [ACCOUNT, HOME, PASSWORD_RESET],
        [ACCOUNT, PASSWORD_RESET, HOME],
    ]
)

# month factors from January on: a quiet summer, and a pre-Christmas season that begins in November
MONTH_FACTORS = np.array([0.85, 0.85, 0.95, 1.0, 1.0, 0.95, 0.85, 0.85, 0.95, 1.05, 1.35, 1.5])
WEEKDAY_FACTORS = np.array([1.05, 0.95, 0.95, 0.95, 1.0, 1.0, 1.15])  # from Monday on
HOUR_WEIGHTS = np.array([1, 0.5, 0.3, 0.2, 0.2, 0.4, 1, 2, 3, 4, 4.5, 4.5, 5, 4.5, 4, 4, 4, 4.5, 5, 6, 7, 7, 5, 2.5])

SCHEMAS = {
    "raw_customers": pa.schema(
        {
            "customer_id": pa.string(),
            "signed_up_on": pa.date32(),
            "country": pa.string(),
            "channel": pa.string(),
            "age_band": pa.string(),
            "fraud_confirmed_at": pa.timestamp("s"),
            "loaded_at": pa.timestamp("s"),
        }
    ),
    "raw_orders": pa.schema(
        {
            "order_id": pa.string(),
            "customer_id": pa.string(),
            "ordered_at": pa.timestamp("s"),
            "kind": pa.string(),
            "payment_method": pa.string(),
            "loaded_at": pa.timestamp("s"),
        }
    ),
    "raw_order_lines": pa.schema(
        {
            "order_id": pa.string(),
            "line_number": pa.int32(),
            "product_id": pa.string(),
            "category": pa.string(),
            "quantity": pa.int32(),
            "unit_price": pa.float64(),
        }
    ),
    "raw_web_visits": pa.schema(
        {
            "visit_id": pa.string(),
            "customer_id": pa.string(),
            "visited_at": pa.timestamp("s"),
            "page": pa.string(),
            "device": pa.string(),
            "loaded_at": pa.timestamp("s"),
        }
    ),
    "raw_support_tickets": pa.schema(
        {
            "ticket_id": pa.string(),
            "customer_id": pa.string(),
            "opened_at": pa.timestamp("s"),
            "topic": pa.string(),
            "answered_at": pa.timestamp("s"),
            "loaded_at": pa.timestamp("s"),
        }
    ),
    "raw_fraud_reports": pa.schema(
        {
            "report_id": pa.string(),
            "customer_id": pa.string(),
            "occurred_at": pa.timestamp("s"),
            "verdict": pa.string(),
            "decided_at": pa.timestamp("s"),
        }
    ),
}


def write_shop(
    out_dir: Path,
    customers: int = 2000,
    seed: int = 7,
    file_format: str = "csv",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Path]:
    """Write the six raw tables of a shop of `customers` customers into `out_dir`; the same seed gives the same bytes.

    `progress` is called with (customers done, customers in all) after each chunk. A table's file is replaced only once
    all six are complete. Returns the path of each table's file.
    Raises UsageError for an argument that makes no sense and DataError when the folder cannot be written.
    """
    if isinstance(customers, bool) or not isinstance(customers, (int, np.integer)) or customers < 1:
        raise UsageError(f"customers is {customers!r}, expected a whole number of at least 1: give --customers 2000")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise UsageError(f"seed is {seed!r}, expected a whole number of at least 0: give --seed 7")
    if file_format not in FILE_FORMATS:
        raise UsageError(f"file format is {file_format!r}, expected one of {', '.join(FILE_FORMATS)}")
    out_dir = Path(out_dir)
    targets = {table: out_dir / f"{table}.{file_format}" for table in SCHEMAS}
    drafts = {table: out_dir / f".{path.name}.{os.getpid()}.tmp" for table, path in targets.items()}
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        try:
            _write_drafts(drafts, int(customers), int(seed), file_format, progress)
            for table, draft in drafts.items():
                os.replace(draft, targets[table])
        finally:
            for draft in drafts.values():
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"the shop cannot be written to {out_dir}: {error.strerror or error}; name a folder that can be written"
        ) from error
    return targets


def _write_drafts(
    drafts: dict[str, Path],
    customers: int,
    seed: int,
    file_format: str,
    progress: Callable[[int, int], None] | None,
) -> None:
    with ExitStack() as open_files:
        writers = {}
        for table, draft in drafts.items():
            writers[table] = _open_writer(draft, SCHEMAS[table], file_format)
            open_files.callback(writers[table].close)
        for nth, tables in enumerate(_chunks(customers, seed), start=1):
            for table, rows in tables.items():
                writers[table].write_table(rows)
            if progress is not None:
                progress(min(nth * CHUNK, customers), customers)


def _open_writer(path: Path, schema: pa.Schema, file_format: str) -> _CsvWriter | pa.parquet.ParquetWriter:
    return _CsvWriter(path, schema) if file_format == "csv" else pa.parquet.ParquetWriter(path, schema)


class _CsvWriter:
    """CSV with bare names in the header and no quotes: no value here holds a comma, and a null is an empty field."""

    def __init__(self, path: Path, schema: pa.Schema):
        self._file = path.open("wb")
        self._file.write((",".join(schema.names) + "\n").encode())
        options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
        self._writer = pa.csv.CSVWriter(self._file, schema, write_options=options)

    def write_table(self, rows: pa.Table) -> None:
        self._writer.write_table(rows)

    def close(self) -> None:
        self._writer.close()
        self._file.close()


def _chunks(customers: int, seed: int) -> Iterator[dict[str, pa.Table]]:
    """Yield the tables chunk by chunk; identifiers go on counting from chunk to chunk."""
    catalogue = Catalogue.draw(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,))))
    counted = {"customer": 0, "order": 0, "visit": 0, "ticket": 0, "report": 0}
    for chunk, first in enumerate(range(0, customers, CHUNK)):
        # what takeovers draw changes nothing of the rest
        rng, takeover_rng = (
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key, chunk))) for key in (1, 2)
        )
        yield _chunk(rng, takeover_rng, min(CHUNK, customers - first), catalogue, counted)


@dataclass(frozen=True)
class Catalogue:
    """What the shop sells: `price_cents` is [category, product], `popularity` the Zipf share of a rank, cumulated."""

    price_cents: np.ndarray
    popularity: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Catalogue:
        spread = np.exp(rng.normal(0.0, 0.45, (len(CATEGORIES), PRODUCTS_PER_CATEGORY)))
        cents = np.maximum((np.array(TYPICAL_PRICE)[:, None] * spread * 10).round() * 10 - 5, 195).astype(np.int64)
        cents[GIFT_CARD] = np.resize([1000, 2500, 5000, 10000], PRODUCTS_PER_CATEGORY)
        shares = 1.0 / np.arange(1, PRODUCTS_PER_CATEGORY + 1)
        return cls(cents, np.cumsum(shares) / shares.sum())


@dataclass(frozen=True)
class People:
    """One entry a customer; times are days since STARTS_AT."""

    joined: np.ndarray
    begins: np.ndarray  # first day on which they can be active
    leaves: np.ndarray  # the last order lies before it
    lingers_until: np.ndarray  # the last visit lies before it
    is_announced: np.ndarray
    is_fraud: np.ndarray
    favourites: np.ndarray  # [customer, 2] categories
    payment: np.ndarray
    device: np.ndarray
    generosity: np.ndarray  # chance that a line holds one piece more

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int) -> People:
        is_fraud = rng.random(count) < SHARE_FRAUD
        is_early = (rng.random(count) < SHARE_JOINED_BEFORE) & ~is_fraud
        joined = np.where(is_early, -730 * rng.random(count), (DAYS - 1) * np.sqrt(rng.random(count)))  # the shop grows
        begins = np.maximum(joined, 0.0)
        hazard = rng.gamma(DEPARTURE_SHAPE, DEPARTURES_A_YEAR / DEPARTURE_SHAPE, count) / 365.25
        # competition grows: the hazard rises in a line from DRIFT to 2 - DRIFT times its mean over the two years
        stays_from = begins + SHORTEST_STAY_DAYS
        used = stays_from * (DRIFT + (1 - DRIFT) * stays_from / DAYS)
        until = used + rng.exponential(1.0, count) / np.maximum(hazard, 1e-9)
        leaves = DAYS * (np.sqrt(DRIFT**2 + 4 * (1 - DRIFT) * until / DAYS) - DRIFT) / (2 * (1 - DRIFT))
        is_announced = (rng.random(count) < SHARE_ANNOUNCED) & ~is_fraud
        # a departure that nothing announces ends the visits with the orders
        lingers_until = leaves + np.where(is_announced, rng.uniform(*LINGER_DAYS, count), 0.0)
        first = rng.integers(0, GIFT_CARD, count)  # the gift card is nobody's favourite
        second = (first + rng.integers(0, 3, count)) % GIFT_CARD
        return cls(
            joined=joined,
            begins=begins,
            leaves=leaves,
            lingers_until=lingers_until,
            is_announced=is_announced,
            is_fraud=is_fraud,
            favourites=np.stack([first, second], axis=1),
            payment=_pick(rng, count, [0.5, 0.3, 0.2]),
            device=_pick(rng, count, [0.55, 0.37, 0.08]),
            generosity=rng.beta(1.2, 4.0, count),
        )


@dataclass(frozen=True)
class Episodes:
    """Ticket episodes, one entry each: `opened_at` and `opened_again_at` are seconds, an `answered` one 0 if never."""

    customer: np.ndarray
    begins: np.ndarray  # days
    pause_days: np.ndarray  # how long they look without ordering
    opened_at: np.ndarray
    opened_again_at: np.ndarray
    first_answered_at: np.ndarray
    second_answered_at: np.ndarray


@dataclass(frozen=True)
class Takeovers:
    """Orders as `_orders` makes them and their lines; visits with a device; reports. All times are seconds."""

    orders: dict[str, np.ndarray]
    lines: dict[str, np.ndarray]
    visits: dict[str, np.ndarray]
    reports: dict[str, np.ndarray]  # customer, occurred, is_fraud, decided


def _chunk(
    rng: np.random.Generator,
    takeover_rng: np.random.Generator,
    count: int,
    catalogue: Catalogue,
    counted: dict[str, int],
) -> dict[str, pa.Table]:
    """Simulate `count` customers and return their rows, dirt included; `counted` is advanced by what was made."""
    people = People.draw(rng, count)
    episodes = _episodes(rng, people)
    orders = _orders(rng, people, episodes, visits := [])
    visits += [_episode_visits(rng, people, episodes), _idle_visits(rng, people)]
    orders, lines = _with_lines(rng, people, orders, catalogue)
    tables = {
        "raw_customers": _customer_rows(rng, people, orders, counted),
        "raw_orders": _order_rows(rng, orders, counted),
        "raw_order_lines": _line_rows(rng, lines, counted),
        "raw_web_visits": _visit_rows(rng, people, visits, counted),
        "raw_support_tickets": _ticket_rows(rng, people, episodes, counted),
    }
    counted["order"] += len(orders["customer"])
    # these rows follow those of the chunk, which stay what they are
    takeovers = _takeovers(takeover_rng, people, orders, tables["raw_customers"], catalogue, counted)
    more = {
        "raw_orders": _order_rows(takeover_rng, takeovers.orders, counted),
        "raw_order_lines": _line_rows(takeover_rng, takeovers.lines, counted),
        "raw_web_visits": _visit_table(takeover_rng, takeovers.visits, counted),
    }
    tables |= {name: pa.concat_tables([tables[name], rows]) for name, rows in more.items()}
    tables["raw_fraud_reports"] = _report_rows(takeover_rng, takeovers.reports, counted)
    counted["customer"] += count
    counted["order"] += len(takeovers.orders["customer"])
    return tables


# -- drawing


def _pick(rng: np.random.Generator, count: int, shares: list[float] | np.ndarray) -> np.ndarray:
    """Draw `count` indices with the given shares, which need not sum to one."""
    edges = np.cumsum(shares)
    return np.searchsorted(edges, rng.random(count) * edges[-1], side="right").clip(max=len(edges) - 1)


def _seconds(rng: np.random.Generator, days: np.ndarray, weights: np.ndarray = HOUR_WEIGHTS) -> np.ndarray:
    """The seconds since STARTS_AT of a moment on each of `days`, at an hour drawn by its weight."""
    hours = _pick(rng, len(days), weights)
    return np.floor(days).astype(np.int64) * DAY + hours * 3600 + rng.integers(0, 3600, len(days))


def _season() -> np.ndarray:
    """Orders that an average customer would have placed by the start of each day, in average days: [DAYS + 1]."""
    dates = STARTS_AT.astype("datetime64[D]") + np.arange(DAYS)
    month = dates.astype("datetime64[M]").astype(np.int64) % 12
    weekday = (dates.astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    daily = MONTH_FACTORS[month] * WEEKDAY_FACTORS[weekday]
    return np.concatenate([[0.0], np.cumsum(daily)]) / daily.mean()


def _moments(
    rng: np.random.Generator, rate: float, begins: np.ndarray, ends: np.ndarray, is_in: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Moments at `rate` a year between `begins` and `ends` of those `is_in`: (customer, day), ordered by neither."""
    ends = np.minimum(ends, DAYS)
    length = np.where(is_in, np.maximum(ends - begins, 0.0), 0.0)
    customer = np.repeat(np.arange(len(begins)), rng.poisson(rate / 365.25 * length))
    return customer, begins[customer] + length[customer] * rng.random(len(customer))


# -- what customers do


def _episodes(rng: np.random.Generator, people: People) -> Episodes:
    """The leaving customers' tickets and their decoys: equal numbers, equal times, only the order differs."""
    # a decoy that ran into the departure would blur which of the two it is
    decoys, decoy_begins = _moments(rng, DECOY_TICKETS_A_YEAR, people.begins + 10, people.leaves - 15, ~people.is_fraud)
    leavers = np.flatnonzero(people.is_announced & (people.leaves < DAYS))
    customer = np.concatenate([leavers, decoys])
    is_leaving = np.arange(len(customer)) < len(leavers)
    begins = np.concatenate([people.leaves[leavers], decoy_begins])
    pause = np.where(is_leaving, people.lingers_until[customer] - begins, rng.uniform(*LINGER_DAYS, len(customer)))
    opened = _seconds(rng, begins)
    to_answer = rng.integers(DAY // 2, 5 * DAY // 2, len(customer))
    to_next = rng.integers(DAY, 5 * DAY, len(customer))
    return Episodes(
        customer=customer,
        begins=begins,
        pause_days=pause,
        opened_at=opened,
        opened_again_at=opened + to_next + np.where(is_leaving, to_answer, 0),
        first_answered_at=np.where(is_leaving, opened + to_answer, 0),
        second_answered_at=np.where(is_leaving, 0, opened + to_next + to_answer),
    )


def _orders(
    rng: np.random.Generator, people: People, episodes: Episodes, visits: list[dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """All orders, refunds not yet among them; the visits that go with them are appended to `visits`."""
    ordinary = _ordinary_orders(rng, people, episodes)
    project = _project_orders(rng, people, visits)
    fraud = _fraud_orders(rng, people, visits)
    parts = [ordinary, project, fraud]
    orders = {
        "customer": np.concatenate([customer for customer, _ in parts]),
        "at": np.concatenate([at for _, at in parts]),
        "rhythm": np.repeat([ORDINARY, PROJECT, FRAUD], [len(at) for _, at in parts]),
    }
    # the page view and the order that ends it carry the same second
    seen = np.flatnonzero((rng.random(len(orders["at"])) < SHARE_CHECKOUT_SEEN) & (orders["rhythm"] != FRAUD))
    visits.append(
        {"customer": orders["customer"][seen], "at": orders["at"][seen], "page": np.full(len(seen), CHECKOUT)}
    )
    return orders


def _ordinary_orders(rng: np.random.Generator, people: People, episodes: Episodes) -> tuple[np.ndarray, np.ndarray]:
    """Orders at gamma-distributed gaps in season time, each customer with a rate of their own, until they leave."""
    count = len(people.begins)
    season = _season()
    calendar = np.arange(DAYS + 1.0)
    rate = rng.gamma(ORDER_RATE_SHAPE, ORDERS_A_YEAR / ORDER_RATE_SHAPE, count) / 365.25
    gaps = rng.gamma(GAP_SHAPE, 1.0 / GAP_SHAPE, (count, MOST_ORDERS)) / np.maximum(rate, 1e-6)[:, None]
    # who joins orders at once; who was there already is met somewhere within a gap
    gaps[:, 0] *= np.where(people.joined >= 0, 0.03, rng.random(count))
    days = np.interp(np.interp(people.begins, calendar, season)[:, None] + gaps.cumsum(axis=1), season, calendar)
    is_kept = (days < DAYS) & (days < people.leaves[:, None]) & ~people.is_fraud[:, None]
    customer, place = np.nonzero(is_kept)
    day = days[customer, place]
    # whoever waits for an answer does not order, be they leaving or not
    by_customer = np.argsort(episodes.customer, kind="stable")
    waiting, begins, pause = (a[by_customer] for a in (episodes.customer, episodes.begins, episodes.pause_days))
    first = np.searchsorted(waiting, customer, side="left")
    last = np.searchsorted(waiting, customer, side="right")
    is_waiting = np.zeros(len(customer), dtype=bool)
    for nth in range(int((last - first).max(initial=0))):
        at = np.minimum(first + nth, len(waiting) - 1)
        is_waiting |= (first + nth < last) & (day >= np.floor(begins[at])) & (day < begins[at] + pause[at])
    return customer[~is_waiting], _seconds(rng, day[~is_waiting])


def _project_orders(
    rng: np.random.Generator, people: People, visits: list[dict[str, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Browsing in threes; compare, reviews, cart in this order start several large orders, the other orders nothing."""
    starters, starts = _moments(rng, PROJECTS_A_YEAR, people.begins, people.leaves, ~people.is_fraud)
    decoys, decoy_starts = _moments(rng, DECOY_BROWSING_A_YEAR, people.begins, people.lingers_until, ~people.is_fraud)
    customer = np.concatenate([starters, decoys])
    begin = _seconds(rng, np.concatenate([starts, decoy_starts]))
    which = np.concatenate([np.zeros(len(starters), np.int64), rng.integers(1, len(BROWSING), len(decoys))])
    pauses = rng.integers(40, 900, (len(customer), 3)).cumsum(axis=1)
    visits.append(
        {
            "customer": np.repeat(customer, 3),
            "at": (begin[:, None] + pauses).ravel(),
            "page": BROWSING[which].ravel(),
        }
    )
    orders = np.where(rng.random(len(starters)) < SHARE_PROJECTS_DONE, 2 + rng.poisson(1.2, len(starters)), 0)
    buyer = np.repeat(starters, orders)
    day = np.repeat(starts, orders) + rng.uniform(*PROJECT_DAYS, len(buyer))
    is_kept = day < np.minimum(people.leaves[buyer], DAYS)
    return buyer[is_kept], _seconds(rng, day[is_kept])


def _fraud_orders(
    rng: np.random.Generator, people: People, visits: list[dict[str, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """A few nights full of orders soon after signing up, with a look or two at the account."""
    accounts = np.flatnonzero(people.is_fraud)
    night = np.where(np.arange(24) < 5, 1.0, 0.0)
    customer = np.repeat(accounts, 5 + rng.poisson(4.0, len(accounts)))
    day = people.joined[customer] + 1 + rng.integers(0, 4, len(customer))
    visitor = np.repeat(accounts, 1 + rng.poisson(1.0, len(accounts)))
    visits.append(
        {
            "customer": visitor,
            "at": _seconds(rng, people.joined[visitor] + 1, night),
            "page": np.where(rng.random(len(visitor)) < 0.5, ACCOUNT, HOME),
        }
    )
    return customer, _seconds(rng, day, night)


def _episode_visits(rng: np.random.Generator, people: People, episodes: Episodes) -> dict[str, np.ndarray]:
    """After the last word of an episode: product and account pages for some weeks, the same for all."""
    episode = np.repeat(np.arange(len(episodes.customer)), 2 + rng.poisson(2.5, len(episodes.customer)))
    over = np.maximum(episodes.opened_again_at, episodes.second_answered_at)[episode] / DAY
    left = np.maximum(episodes.begins[episode] + episodes.pause_days[episode] - over, 3.0)
    return {
        "customer": episodes.customer[episode],
        "at": _seconds(rng, np.floor(over) + 1 + left * rng.random(len(episode))),
        "page": np.where(rng.random(len(episode)) < 0.6, PRODUCT, ACCOUNT),
    }


def _idle_visits(rng: np.random.Generator, people: People) -> dict[str, np.ndarray]:
    customer, day = _moments(rng, VISITS_A_YEAR, people.begins, people.lingers_until, ~people.is_fraud)
    page = np.array([HOME, SEARCH, PRODUCT, ACCOUNT])[_pick(rng, len(customer), [0.35, 0.2, 0.35, 0.1])]
    return {"customer": customer, "at": _seconds(rng, day), "page": page}


def _takeovers(
    rng: np.random.Generator,
    people: People,
    orders: dict[str, np.ndarray],
    customers: pa.Table,
    catalogue: Catalogue,
    counted: dict[str, int],
) -> Takeovers:
    """Three visits, of which only one order of the three is a takeover; then gift cards, and a report of it.

    The accounts that were fraudulent from the start (`people.is_fraud`) are reported when `customers` says so.
    """
    begins = np.maximum(people.begins + 10, TAKEOVERS_BEGIN)
    taken, starts = _moments(rng, TAKEOVERS_A_YEAR, begins, people.leaves, ~people.is_fraud)
    first = np.unique(taken[np.argsort(starts)], return_index=True)[1]  # nobody's account is taken twice
    taken, starts = (values[np.argsort(starts)][first] for values in (taken, starts))
    owners, owner_starts = _moments(rng, DECOY_RESETS_A_YEAR, begins, people.leaves, ~people.is_fraud)
    customer = np.concatenate([taken, owners])
    begin = _seconds(rng, np.concatenate([starts, owner_starts]))
    which = np.concatenate([np.zeros(len(taken), np.int64), rng.integers(1, len(RESETS), len(owners))])
    page = RESETS[which].ravel()
    usual = np.repeat(people.device[customer], 3)
    other = (usual + np.repeat(rng.integers(1, len(DEVICES), len(customer)), 3)) % len(DEVICES)
    visits = {
        "customer": np.repeat(customer, 3),
        "at": (begin[:, None] + rng.integers(40, 900, (len(customer), 3)).cumsum(axis=1)).ravel(),
        "page": page,
        "device": np.where(page == HOME, usual, other),
    }

    used = starts + rng.uniform(*TAKEOVER_DAYS, len(taken))
    is_used = (rng.random(len(taken)) < SHARE_TAKEOVERS_USED) & (used < np.minimum(people.leaves[taken], DAYS))
    thief, day = taken[is_used], used[is_used]
    bought = np.repeat(np.arange(len(thief)), 1 + rng.poisson(0.8, len(thief)))
    at = _seconds(rng, day[bought] + rng.integers(0, 3, len(bought)))
    is_before_end = at < DAYS * DAY
    by_time = np.flatnonzero(is_before_end)[np.argsort(at[is_before_end], kind="stable")]
    bought, at = bought[by_time], at[by_time]
    count = len(at)
    product = rng.integers(0, PRODUCTS_PER_CATEGORY, count)

    victims = np.unique(bought)
    occurred = np.full(len(thief), DAYS * DAY)
    np.minimum.at(occurred, bought, at)
    suspected = np.flatnonzero(rng.random(len(owners)) < SHARE_DECOYS_REPORTED)
    confirmed = customers.filter(pc.is_valid(customers["fraud_confirmed_at"]))
    fraudulent = (
        np.asarray(pc.utf8_slice_codeunits(confirmed["customer_id"], 1).cast(pa.int64())) - 1 - counted["customer"]
    )
    fraudulent, place = np.unique(fraudulent, return_index=True)
    last_order = np.zeros(len(people.joined), np.int64)
    np.maximum.at(last_order, orders["customer"][orders["kind"] == 0], orders["at"][orders["kind"] == 0])
    confirmed_at = (np.asarray(confirmed["fraud_confirmed_at"]) - STARTS_AT).astype(np.int64)[place]
    reported_at = np.concatenate([occurred[victims], begin[len(taken) :][suspected]])
    reports = {
        "customer": np.concatenate([thief[victims], owners[suspected], fraudulent]),
        "occurred": np.concatenate([reported_at, last_order[fraudulent]]),
        "is_fraud": np.repeat([1, 0, 1], [len(victims), len(suspected), len(fraudulent)]),
        "decided": np.concatenate(
            [
                reported_at + rng.integers(DAYS_TO_VERDICT[0] * DAY, DAYS_TO_VERDICT[1] * DAY, len(reported_at)),
                confirmed_at,
            ]
        ),
    }
    is_kept = visits["at"] < DAYS * DAY
    is_decided = reports["decided"] < DAYS * DAY
    return Takeovers(
        orders={
            "customer": thief[bought],
            "at": at,
            "kind": np.zeros(count, np.int64),
            "payment": np.full(count, PAYMENTS.index("card")),
        },
        lines={
            "order": np.arange(count),
            "number": np.ones(count, np.int64),
            "category": np.full(count, GIFT_CARD),
            "product": product,
            "quantity": np.ones(count, np.int64),
            "cents": catalogue.price_cents[GIFT_CARD, product],
        },
        visits=_in_order({name: values[is_kept] for name, values in visits.items()}, "at", "customer", "page"),
        reports=_in_order({name: values[is_decided] for name, values in reports.items()}, "decided", "customer"),
    )


def _with_lines(
    rng: np.random.Generator, people: People, orders: dict[str, np.ndarray], catalogue: Catalogue
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Fill the baskets, add the refunds and sort the orders by time; `order` of a line is the row of its order."""
    is_kept = (orders["at"] >= 0) & (orders["at"] < DAYS * DAY)
    orders = {name: values[is_kept] for name, values in orders.items()}
    count = len(orders["at"])
    customer, rhythm = orders["customer"], orders["rhythm"]
    orders["kind"] = np.zeros(count, np.int64)
    odd = rng.random(count) < 0.12
    orders["payment"] = np.where(odd, _pick(rng, count, [0.4, 0.3, 0.2, 0.1]), people.payment[customer])
    fraud_payment = np.where(rng.random(count) < 0.3, PAYMENTS.index("gift_card"), 0)
    orders["payment"] = np.where(rhythm == FRAUD, fraud_payment, orders["payment"])

    of_order = np.repeat(np.arange(count), 1 + np.minimum(rng.poisson(LINES_MORE, count), 4))
    number = np.arange(len(of_order)) - np.searchsorted(of_order, of_order) + 1
    line_rhythm, buyer = rhythm[of_order], customer[of_order]
    taste = _pick(rng, len(of_order), [0.55, 0.27, 0.18])
    category = np.where(
        taste < 2,
        people.favourites[buyer, np.minimum(taste, 1)],
        rng.integers(0, len(CATEGORIES), len(of_order)),
    )
    category = np.where((line_rhythm == FRAUD) & (rng.random(len(of_order)) < 0.6), GIFT_CARD, category)
    product = np.searchsorted(catalogue.popularity, rng.random(len(of_order))).clip(max=PRODUCTS_PER_CATEGORY - 1)
    quantity = 1 + (rng.random(len(of_order)) < people.generosity[buyer])
    # a large basket now and then, which no browsing announced
    is_large = (line_rhythm == PROJECT) | (rng.random(len(of_order)) < SHARE_LARGE_ANYWAY)
    quantity = np.where(is_large, rng.integers(4, 10, len(of_order)), quantity)
    discount = np.where(rng.random(len(of_order)) < 0.1, 80, 100)
    cents = catalogue.price_cents[category, product] * discount // 100
    lines = {"order": of_order, "number": number, "category": category, "product": product}
    lines |= {"quantity": quantity, "cents": cents}

    refunded = np.flatnonzero(rng.random(count) < np.where(rhythm == FRAUD, 0.4, 0.03))
    days_later = np.where(
        rhythm[refunded] == FRAUD, rng.integers(1, 6, len(refunded)), rng.integers(3, 25, len(refunded))
    )
    refund_at = _seconds(rng, orders["at"][refunded] / DAY + days_later)
    refunded, refund_at = refunded[refund_at < DAYS * DAY], refund_at[refund_at < DAYS * DAY]
    refund_of = np.full(count, -1)
    refund_of[refunded] = count + np.arange(len(refunded))
    back = np.flatnonzero(refund_of[of_order] >= 0)
    returned = {name: values[back] for name, values in lines.items()}
    returned |= {"order": refund_of[returned["order"]], "quantity": -returned["quantity"]}
    lines = {name: np.concatenate([values, returned[name]]) for name, values in lines.items()}
    again = {name: values[refunded] for name, values in orders.items()}
    again |= {"at": refund_at, "kind": np.ones(len(refunded), np.int64)}
    orders = {name: np.concatenate([values, again[name]]) for name, values in orders.items()}

    by_time = np.lexsort((orders["customer"], orders["at"]))
    orders = {name: values[by_time] for name, values in orders.items()}
    row = np.empty(len(by_time), np.int64)
    row[by_time] = np.arange(len(by_time))
    lines["order"] = row[lines["order"]]
    by_order = np.lexsort((lines["number"], lines["order"]))
    return orders, {name: values[by_order] for name, values in lines.items()}


# -- what the shop's systems hold of it, with their dirt


def _customer_rows(
    rng: np.random.Generator, people: People, orders: dict[str, np.ndarray], counted: dict[str, int]
) -> pa.Table:
    count = len(people.joined)
    last_order = np.zeros(count, np.int64)
    np.maximum.at(last_order, orders["customer"][orders["kind"] == 0], orders["at"][orders["kind"] == 0])
    confirmed = last_order + rng.integers(4 * DAY, 20 * DAY, count)
    is_confirmed = people.is_fraud & (last_order > 0) & (confirmed < DAYS * DAY)
    signed_up = np.floor(people.joined).astype(np.int64) * DAY
    loaded = _loaded(rng, np.maximum(signed_up + DAY, 0))
    has_no_age = rng.random(count) < 0.2
    rows = {
        "customer": np.arange(count),
        "signed_up": signed_up,
        "country": _pick(rng, count, [0.4, 0.2, 0.15, 0.17, 0.08]),
        "channel": _pick(rng, count, [0.35, 0.25, 0.15, 0.15, 0.1]),
        "age": _pick(rng, count, [0.12, 0.25, 0.3, 0.22, 0.11]),
        "confirmed": np.where(is_confirmed, confirmed, 0),
        "loaded": np.where(is_confirmed, _loaded(rng, confirmed), loaded),
        "has_no_age": has_no_age,
        "has_no_country": rng.random(count) < 0.02,
    }
    # an account that was confirmed fraudulent had been loaded before as an ordinary one, and an age may come in later
    late_age = ~is_confirmed & ~has_no_age & (rng.random(count) < 0.02)
    earlier = {name: values[is_confirmed | late_age] for name, values in rows.items()}
    earlier |= {"confirmed": np.zeros_like(earlier["confirmed"]), "loaded": loaded[is_confirmed | late_age]}
    earlier["has_no_age"] = earlier["has_no_age"] | late_age[earlier["customer"]]
    rows["loaded"] = rows["loaded"] + np.where(late_age, rng.integers(1, 40, count) * DAY, 0)
    rows = _again(rng, {name: np.concatenate([earlier[name], values]) for name, values in rows.items()}, 0.005, 0.0)
    rows = _in_order(rows, "customer", "loaded")
    return _table(
        "raw_customers",
        _ids("c", rows["customer"] + counted["customer"]),
        pa.array(STARTS_AT.astype("datetime64[D]") + rows["signed_up"] // DAY),
        _words(COUNTRIES, rows["country"], rows["has_no_country"]),
        _words(CHANNELS, rows["channel"]),
        _words(AGE_BANDS, rows["age"], rows["has_no_age"]),
        _times(rows["confirmed"], rows["confirmed"] == 0),
        _times(rows["loaded"]),
    )


def _order_rows(rng: np.random.Generator, orders: dict[str, np.ndarray], counted: dict[str, int]) -> pa.Table:
    count = len(orders["at"])
    rows = dict(orders, row=np.arange(count), loaded=_loaded(rng, orders["at"]), nothing=rng.random(count) < 0.01)
    rows = _in_order(_again(rng, rows, 0.005, 0.01), "row", "loaded")
    return _table(
        "raw_orders",
        _ids("o", rows["row"] + counted["order"]),
        _ids("c", rows["customer"] + counted["customer"]),
        _times(rows["at"]),
        _words(("order", "refund"), rows["kind"]),
        _words(PAYMENTS, rows["payment"], rows["nothing"]),
        _times(rows["loaded"]),
    )


def _line_rows(rng: np.random.Generator, lines: dict[str, np.ndarray], counted: dict[str, int]) -> pa.Table:
    rows = _in_order(_again(rng, dict(lines), 0.006, 0.0), "order", "number")
    return _table(
        "raw_order_lines",
        _ids("o", rows["order"] + counted["order"]),
        pa.array(rows["number"], pa.int32()),
        _ids("p", rows["category"] * PRODUCTS_PER_CATEGORY + rows["product"], 3),
        _words(CATEGORIES, rows["category"]),
        pa.array(rows["quantity"], pa.int32()),
        pa.array(rows["cents"] / 100.0),
    )


def _visit_rows(
    rng: np.random.Generator, people: People, visits: list[dict[str, np.ndarray]], counted: dict[str, int]
) -> pa.Table:
    rows = {name: np.concatenate([part[name] for part in visits]) for name in ("customer", "at", "page")}
    strangers = int(len(rows["at"]) * SHARE_ANONYMOUS)
    rows["device"] = np.where(
        rng.random(len(rows["at"])) < 0.8, people.device[rows["customer"]], rng.integers(0, 3, len(rows["at"]))
    )
    anonymous = {
        "customer": np.full(strangers, -1),
        "at": _seconds(rng, DAYS * rng.random(strangers)),
        "page": _pick(rng, strangers, [0.3, 0.2, 0.35, 0, 0.05, 0.05, 0.05, 0]),
        "device": rng.integers(0, 3, strangers),
    }
    rows = {name: np.concatenate([values, anonymous[name]]) for name, values in rows.items()}
    is_kept = (rows["at"] >= 0) & (rows["at"] < DAYS * DAY)
    return _visit_table(
        rng, _in_order({name: values[is_kept] for name, values in rows.items()}, "at", "customer", "page"), counted
    )


def _visit_table(rng: np.random.Generator, visits: dict[str, np.ndarray], counted: dict[str, int]) -> pa.Table:
    """Rows of visits in their order; a customer of -1 is nobody known."""
    rows = dict(visits)
    count = len(rows["at"])
    first = counted["visit"]
    counted["visit"] += count
    rows |= {"row": np.arange(count), "loaded": _loaded(rng, rows["at"]), "nothing": rng.random(count) < 0.03}
    rows = _in_order(_again(rng, rows, 0.005, 0.01), "row", "loaded")
    return _table(
        "raw_web_visits",
        _ids("v", rows["row"] + first),
        _ids("c", rows["customer"] + counted["customer"], is_null=rows["customer"] < 0),
        _times(rows["at"]),
        _words(PAGES, rows["page"]),
        _words(DEVICES, rows["device"], rows["nothing"]),
        _times(rows["loaded"]),
    )


def _ticket_rows(rng: np.random.Generator, people: People, episodes: Episodes, counted: dict[str, int]) -> pa.Table:
    plain, day = _moments(rng, PLAIN_TICKETS_A_YEAR, people.begins, people.leaves, ~people.is_fraud)
    opened = _seconds(rng, day)
    answered = opened + rng.integers(DAY // 4, 5 * DAY // 2, len(plain))
    topic = rng.integers(0, len(TOPICS), len(episodes.customer))
    rows = {
        "customer": np.concatenate([episodes.customer, episodes.customer, plain]),
        "at": np.concatenate([episodes.opened_at, episodes.opened_again_at, opened]),
        "answered": np.concatenate([episodes.first_answered_at, episodes.second_answered_at, answered]),
        "topic": np.concatenate([topic, topic, rng.integers(0, len(TOPICS), len(plain))]),
    }
    is_kept = (rows["at"] >= 0) & (rows["at"] < DAYS * DAY)
    rows = _in_order({name: values[is_kept] for name, values in rows.items()}, "at", "customer")
    rows["answered"] = np.where(rows["answered"] < DAYS * DAY, rows["answered"], 0)  # not answered yet
    count = len(rows["at"])
    first = counted["ticket"]
    counted["ticket"] += count
    loaded = _loaded(rng, rows["at"])
    answer_loaded = np.where(rows["answered"] > 0, _loaded(rng, rows["answered"]), loaded)
    rows |= {"row": np.arange(count), "loaded": np.maximum(loaded, answer_loaded), "no_topic": rng.random(count) < 0.03}
    # some were loaded while they were still open
    was_open = np.flatnonzero((rows["answered"] > loaded) & (rng.random(count) < 0.3))
    earlier = {name: values[was_open] for name, values in rows.items()}
    earlier |= {"answered": np.zeros(len(was_open), np.int64), "loaded": loaded[was_open]}
    rows = {name: np.concatenate([earlier[name], values]) for name, values in rows.items()}
    rows = _in_order(_again(rng, rows, 0.005, 0.01), "row", "loaded")
    return _table(
        "raw_support_tickets",
        _ids("t", rows["row"] + first),
        _ids("c", rows["customer"] + counted["customer"]),
        _times(rows["at"]),
        _words(TOPICS, rows["topic"], rows["no_topic"]),
        _times(rows["answered"], rows["answered"] == 0),
        _times(rows["loaded"]),
    )


def _report_rows(rng: np.random.Generator, reports: dict[str, np.ndarray], counted: dict[str, int]) -> pa.Table:
    count = len(reports["decided"])
    first = counted["report"]
    counted["report"] += count
    rows = _in_order(_again(rng, dict(reports, row=np.arange(count)), 0.02, 0.0), "row")
    return _table(
        "raw_fraud_reports",
        _ids("f", rows["row"] + first),
        _ids("c", rows["customer"] + counted["customer"]),
        _times(rows["occurred"]),
        _words(VERDICTS, rows["is_fraud"]),
        _times(rows["decided"]),
    )


def _loaded(rng: np.random.Generator, at: np.ndarray) -> np.ndarray:
    """The first four o'clock after `at`; for a few rows some days later."""
    four = 4 * 3600
    late = np.where(rng.random(len(at)) < SHARE_LATE, rng.integers(1, 10, len(at)), 0)
    return ((at - four) // DAY + 1 + late) * DAY + four


def _again(
    rng: np.random.Generator, rows: dict[str, np.ndarray], copied: float, reloaded: float
) -> dict[str, np.ndarray]:
    """Add exact copies of a share of the rows, and of another share the same row loaded again some days later."""
    count = len(next(iter(rows.values())))
    copies = np.flatnonzero(rng.random(count) < copied)
    later = np.flatnonzero(rng.random(count) < reloaded)
    more = {name: np.concatenate([values, values[copies], values[later]]) for name, values in rows.items()}
    if "loaded" in more:
        more["loaded"][count + len(copies) :] += rng.integers(1, 30, len(later)) * DAY
    return more


def _in_order(rows: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    order = np.lexsort([rows[name] for name in reversed(names)])
    return {name: values[order] for name, values in rows.items()}


def _table(name: str, *columns: pa.Array) -> pa.Table:
    return pa.table(list(columns), schema=SCHEMAS[name])


def _ids(letter: str, rows: np.ndarray, digits: int = 5, is_null: np.ndarray | None = None) -> pa.Array:
    text = pc.utf8_lpad(pa.array(rows + 1, mask=is_null).cast(pa.string()), digits, "0")
    return pc.binary_join_element_wise(letter, text, "")


def _words(words: tuple[str, ...], codes: np.ndarray, is_null: np.ndarray | None = None) -> pa.Array:
    return pa.array(words).take(pa.array(codes, mask=is_null))


def _times(seconds: np.ndarray, is_null: np.ndarray | None = None) -> pa.Array:
    return pa.array(STARTS_AT + seconds.astype("timedelta64[s]"), mask=is_null)

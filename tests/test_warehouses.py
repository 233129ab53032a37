"""One small shop on DuckDB, a real Postgres and a real Spark session: the same rows in every mart, and the whole road.

The shop holds what databases disagree about: text in the order of bytes or of a language, NaN and infinity, times with
fractions and with a zone, dates, nulls beside empty text, quotes and backslashes, booleans as numbers, an attribute
named like a keyword.
"""

from __future__ import annotations

import json
import math
import random
import re
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.projects import ROOT, install_package
from tests.warehouses import (
    RAW_MODEL,
    Postgres,
    RawTable,
    WarehouseProject,
    spark_settings,
    why_no_postgres,
    why_no_spark,
)

TARGETS = ("duckdb", "postgres", "spark")
MARTS = (
    "activity_attributes",
    "activity_log",
    "activity_sequences",
    "attribute_values",
    "churn_labels",
    "content_features",
    "customer_cutoffs",
    "customer_fingerprints",
    "customer_counts",
    "label_counts",
    "customer_profiles",
    "customers_without_activity",
    "cutoffs",
    "fraud_labels",
    "lifetime_value_labels",
    "rejected_activities",
    "rfm_features",
    "rfm_scores",
)
# What with known_at is made in another way.
KNOWN = (
    "superseded_activities",
    "attribute_values",
    "customer_cutoffs",
    "activity_sequences",
    "rfm_features",
    "rfm_scores",
)
# Hashes are another number on every warehouse.
NOT_COMPARED = {"customer_fingerprint"}

# What the shims make of hard values; models of the installing project, beside the marts.
SHIMS = {
    "shim_numbers": """
        select
            number_id,
            {{ caspr.rounded('number') }} as rounded,
            {{ caspr.rounded(caspr.finite('number')) }} as rounded_finite
        from ({numbers}) as numbers
    """,
    "shim_times": """
        select
            time_id,
            {{ caspr.utc_timestamp('moment') }} as from_time_at,
            {{ caspr.utc_timestamp('instant_at') }} as instant_at,
            {{ caspr.utc_timestamp('day_on') }} as day_at,
            {{ caspr.period_start('day', caspr.utc_timestamp('moment')) }} as period_day,
            {{ caspr.period_start('week', caspr.utc_timestamp('moment')) }} as period_week,
            {{ caspr.period_start('month', caspr.utc_timestamp('moment')) }} as period_month,
            {{ caspr.add_days(caspr.utc_timestamp('moment'), -45) }} as earlier_at,
            {{ caspr.seconds_between(caspr.utc_timestamp('day_on'), caspr.utc_timestamp('moment')) }} as seconds,
            {{ caspr.days_between(caspr.utc_timestamp('day_on'), caspr.utc_timestamp('moment')) }} as days
        from ({times}) as times
    """,
    "shim_hashes": """
        select pair_id, {{ caspr.row_hash(['one', 'other', 'number']) }} as row_hash
        from ({pairs}) as pairs
    """,
    "shim_hash_total": "select {{ caspr.hash_total('row_hash') }} as hash_total from {{ ref('shim_hashes') }}",
}

CUTOFFS = ["2025-02-01", "2025-03-04 13:30:00", "2025-04-09 23:59:59.5"]
CUSTOMERS = [
    "c1",
    "C2",
    "ç3",
    "4",
    "o'neil",
    "日本",
    'q"uote',
    "back\\slash",
    "~",
    "😀",
    "ｚ",
    "Zoë",
    "zoe",
    "_",
    "a b",
]
# Of one instant, so that their order is that of their keys: bytes, not letters of a language.
KEYS = ["b", "B", "a", "A", "é", "e", "z", "ｚ", "😀", "~", "_", "-", "10", "9", "o'", '"', "\\", "Ö", "日"]
AMOUNTS = [None, math.nan, math.inf, -math.inf, -5.25, -0.0, 0.1, 0.2, 19.99, 1e6, 1 / 128, 1e-7, 2e-6 / 3, 1e101]
WORDS = [None, "", " ", "red", "RED", "rouge d'été", 'say "hi"', "back\\slash", "日本", "😀", "null", "NaN"]
SETTINGS = {
    "streams": [
        {
            "model": "orders",
            "activity_id": "order_id",
            "occurred_at": "ordered_at",
            "loaded_at": "loaded_at",
            "activity_type_column": "kind",
            "attributes": [
                {"name": "order", "kind": "categorical", "role": "item"},
                {"name": "amount", "kind": "numerical", "role": "monetary", "relative": True},
                {"name": "is_gift", "kind": "numerical"},
                {"name": "price", "kind": "numerical"},
                {"name": "units", "kind": "numerical"},
            ],
        },
        {
            "model": "visits",
            "activity_id": ["visit_id", "page_id"],
            "occurred_at": "seen_at",
            "activity_type": "visite d'été \\ fin",
            "attributes": [{"name": "page", "kind": "categorical"}],
        },
        {"model": "letters", "activity_id": "letter_id", "occurred_at": "sent_on", "activity_type": "letter"},
    ],
    "profile": {
        "model": "people",
        "valid_from": "since",
        "valid_to": "until",
        "attributes": [{"name": "group", "kind": "categorical"}, {"name": "age", "kind": "numerical"}],
    },
    "horizon_days": 20,
    "cutoffs": [
        {"cutoff_at": at, "role": role} for at, role in zip(CUTOFFS, ["train", "evaluate", "score"], strict=True)
    ],
    "sequence_length": 4,
    "history_length": 9,
    "content_values": 3,
    "rfm_period": "week",
    "at_risk_days": 60,
    "churn": {"activity_types": ["order", "l'ordre \\ été"]},
    "fraud": {"model": "reports", "occurred_at": "occurred_on", "known_at": "known_at", "is_fraud": "is_fraud"},
}


def make_shop(seed: int = 20251123) -> dict[str, RawTable]:
    chance = random.Random(seed)
    begin = datetime(2025, 1, 1)

    def instant() -> datetime:
        if chance.random() < 0.2:
            at = datetime.fromisoformat(chance.choice(CUTOFFS))
            return at + chance.choice([-1, 0, 1]) * chance.choice([timedelta(seconds=1), timedelta(microseconds=1)])
        # few distinct instants, so that customers have several activities in one
        return begin + timedelta(
            hours=chance.randint(0, 100) * 36, microseconds=chance.choice([0, 0, 1, 123_456, 999_999])
        )

    orders = []
    for number in range(400):
        orders.append(
            (
                f"{chance.choice(KEYS)}{number}",
                chance.choice(CUSTOMERS),
                instant(),
                chance.choice(["order", "order", "refund", "l'ordre \\ été"]),
                chance.choice(WORDS),
                chance.choice(AMOUNTS),
                chance.choice([None, True, False]),
                chance.choice([None, Decimal("9.99"), Decimal("-0.01"), Decimal("1234567.89")]),
                chance.choice([None, 0, 1, -7, 2_000_000_000]),
                chance.choice([None, begin, begin + timedelta(days=chance.randint(0, 9))]),
            )
        )
    # Repeated: later loads, copies, and ties of the loading that only the values can break.
    for row in chance.sample(orders, 60):
        other = chance.choice(orders)
        orders.append((row[0], other[1], *chance.choice([row, other])[2:9], chance.choice([row, other])[9]))
    orders += chance.sample(orders, 20)
    orders += [
        (None, "c1", begin, "order", None, 1.0, None, None, 1, None),
        ("n1", None, begin, "order", None, 1.0, None, None, 1, None),
        ("n2", "c1", None, "order", None, 1.0, None, None, 1, None),
        ("n3", "c1", begin, None, None, 1.0, None, None, 1, None),
        ("n4", "nobody", datetime(1970, 1, 1), "order", None, 1.0, None, None, 1, None),
        ("n5", "nobody", datetime(2222, 2, 2), "order", None, 1.0, None, None, 1, None),
    ]
    tied = datetime(2025, 3, 3, 3, 3, 3, 333_333)
    orders += [(key, "tie", tied, "order", None, 1.0, None, None, 1, begin) for key in KEYS]
    orders += [
        ("h1", "hand", datetime(2025, 1, 6), "order", "shoe", 70.0, True, Decimal("1.50"), 3, None),
        ("h2", "hand", datetime(2025, 1, 6, 0, 0, 0, 500_000), "order", "shoe", 50.0, False, None, None, None),
        ("h3", "hand", datetime(2025, 1, 27, 0, 0, 0, 500_000), "refund", "", -20.0, None, None, 0, None),
    ]
    visits = [
        (
            number // 2,
            number % 2,
            chance.choice(CUSTOMERS),
            instant().replace(tzinfo=timezone.utc),
            chance.choice(WORDS),
        )
        for number in range(300)
    ]
    letters = [
        (f"l{number}", chance.choice(CUSTOMERS), date(2025, 1, 1) + timedelta(days=chance.randint(0, 120)))
        for number in range(100)
    ]
    # Versions that overlap, leave gaps, end before they begin, and begin or end exactly at a cutoff.
    begins = [None, date(2025, 1, 1), date(2025, 2, 1), date(2025, 3, 5)]
    ends = [None, *(datetime.fromisoformat(at).replace(tzinfo=timezone.utc) for at in CUTOFFS)]
    people = [
        (name, chance.choice(WORDS), chance.choice([None, 17, 99]), since, chance.choice(ends))
        for name in [*CUSTOMERS[::2], "stranger"]
        for since in chance.sample(begins, chance.randint(1, 3))
    ]
    people.append(("hand", "a", 17, date(2025, 2, 1), None))  # unknown at the first cutoff
    people.append(("hand", "b", 18, None, datetime(2025, 2, 1, tzinfo=timezone.utc)))  # ends there
    # Nobody knows more than this of them: the first three began before the score cutoff and held until then.
    at = [datetime.fromisoformat(cutoff).replace(tzinfo=timezone.utc) for cutoff in CUTOFFS]
    people += [
        ("日本人", "a", 17, date(2025, 4, 9), None),
        ("o'dear", None, None, date(2025, 1, 1), at[2]),
        ("Ä", "rouge d'été", 99, date(2025, 1, 1), at[2] + timedelta(microseconds=1)),
        ("over", "a", 17, date(2025, 1, 1), at[2] - timedelta(microseconds=1)),
        ("tomorrow", "a", 17, date(2025, 4, 10), None),
        ("undated", "a", 17, None, None),
    ]
    # In the windows of the first and the second cutoff; some known exactly at the second, some cleared.
    second = datetime.fromisoformat(CUTOFFS[1]).replace(tzinfo=timezone.utc)
    reports = [(name, date(2025, 2, 3), second, place % 3 > 0) for place, name in enumerate(CUSTOMERS[:12:2])]
    reports += [
        (name, date(2025, 3, 9), second + timedelta(days=9), place % 3 > 0) for place, name in enumerate(CUSTOMERS)
    ]
    return {
        "orders": RawTable(
            {
                "order_id": "text",
                "customer_id": "text",
                "ordered_at": "time",
                "kind": "text",
                "order": "text",
                "amount": "double",
                "is_gift": "flag",
                "price": "money",
                "units": "whole",
                "loaded_at": "time",
            },
            orders,
        ),
        "visits": RawTable(
            {"visit_id": "whole", "page_id": "whole", "customer_id": "text", "seen_at": "instant", "page": "text"},
            visits,
        ),
        "letters": RawTable({"letter_id": "text", "customer_id": "text", "sent_on": "day"}, letters),
        "people": RawTable(
            {"customer_id": "text", "group": "text", "age": "whole", "since": "day", "until": "instant"}, people
        ),
        "reports": RawTable(
            {"customer_id": "text", "occurred_on": "day", "known_at": "instant", "is_fraud": "flag"}, reports
        ),
    }


def make_hard_values(seed: int = 1) -> dict[str, RawTable]:
    chance = random.Random(seed)
    numbers = [
        *AMOUNTS,
        2.5e-6,
        0.5e-6,
        1.5e-6,
        -2.5e-6,
        0.49999999999999994e-6,
        1.0000005,
        1e15 + 0.3,
        4503599627.3704965,
    ]
    numbers += [math.copysign(10 ** chance.uniform(-8, 18), chance.uniform(-1, 1)) for _ in range(2000)]
    numbers += [(chance.randrange(10**9) + 0.5) / 10**6 for _ in range(2000)]  # halves of the last place
    times = []
    for number in range(500):
        at = datetime(1970, 1, 2) + timedelta(microseconds=chance.randrange(130 * 365 * 86_400 * 10**6))
        times.append((number, at, at.replace(tzinfo=timezone.utc), at.date()))
    words = [None, "", "a", "b", "ab", ",", '"', "null", "(", "\\", "1", "é"]
    pairs = {(one, other, number) for one in words for other in words for number in (None, 0.0, 1.0, 0.1, math.inf)}
    return {
        "numbers": RawTable({"number_id": "whole", "number": "double"}, list(enumerate(numbers))),
        "times": RawTable({"time_id": "whole", "moment": "time", "instant_at": "instant", "day_on": "day"}, times),
        "pairs": RawTable(
            {"pair_id": "whole", "one": "text", "other": "text", "number": "double"},
            [(place, *pair) for place, pair in enumerate(sorted(pairs, key=repr))],
        ),
    }


@pytest.fixture(scope="session")
def postgres():
    if reason := why_no_postgres():
        pytest.skip(reason)
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    models = {name: RAW_MODEL.format(name=name) for name in make_shop()}
    for name, sql in SHIMS.items():
        for raw in make_hard_values():
            sql = sql.replace("{" + raw + "}", RAW_MODEL.format(name=raw))
        models[name] = "{{ config(materialized='table') }}\n" + sql
    return install_package(tmp_path_factory.mktemp("warehouses") / "project", SETTINGS, models)


@pytest.fixture(scope="module")
def project_on(installed, request):
    """project_on(target): the project on that target, with the raw tables there and every mart built."""
    made = {}

    def make(target: str) -> WarehouseProject:
        if target not in made:
            scratch = installed.folder / f"scratch_{target}"
            scratch.mkdir(exist_ok=True)
            settings = {}
            if target == "postgres":
                settings = request.getfixturevalue("postgres").settings()
            elif target == "spark":
                if reason := why_no_spark():
                    pytest.skip(reason)
                settings = spark_settings(scratch)
            # The package's unit tests pass whatever the settings of who installs it.
            units = target == "duckdb"
            project = WarehouseProject(installed.folder, scratch, target=target, settings=settings, unit_tests=units)
            project.write(make_shop() | make_hard_values())
            # Wrong rows are there on purpose; of everything else no warning is accepted.
            project.dbt("--quiet", "--warn-error", "build", "--exclude", "no_activity_is_rejected")
            made[target] = project
        return made[target]

    return make


@pytest.fixture(scope="module")
def marts_on(project_on):
    made = {}

    def read(target: str) -> dict[str, pa.Table]:
        if target not in made:
            made[target] = project_on(target).marts(*MARTS, *SHIMS)
        return made[target]

    return read


def rows_of(table: pa.Table) -> tuple[list[tuple], list[tuple]]:
    """(exact values, doubles) of each row, in the order of the exact values, which hold the key."""
    kept = [name for name in table.column_names if name not in NOT_COMPARED]
    doubles = [name for name in kept if pa.types.is_floating(table.schema.field(name).type)]
    exact = [name for name in kept if name not in doubles]
    pairs = [(tuple(row[name] for name in exact), tuple(row[name] for name in doubles)) for row in table.to_pylist()]
    pairs.sort(key=lambda pair: tuple(map(repr, pair[0])))
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def same(one: float | None, other: float | None) -> bool:
    """Equal to six decimals; sums of doubles in another order differ in the sixteenth digit."""
    if one is None or other is None:
        return one is other
    return (
        one == other
        or (math.isnan(one) and math.isnan(other))
        or math.isclose(one, other, rel_tol=1e-12, abs_tol=1.001e-6)
    )


def expect_same_rows(mart: str, expected: pa.Table, found: pa.Table) -> None:
    exact, doubles = rows_of(expected)
    found_exact, found_doubles = rows_of(found)
    assert found_exact == exact, mart
    for key, one, other in zip(exact, doubles, found_doubles, strict=True):
        assert all(map(same, one, other)), (mart, key, one, other)


@pytest.mark.parametrize("target", TARGETS[1:])
def test_every_mart_holds_the_same_rows_as_on_duckdb(marts_on, target):
    expected, found = marts_on("duckdb"), marts_on(target)
    for mart in MARTS:
        assert found[mart].column_names == expected[mart].column_names, mart
        assert len(expected[mart]) > 2, mart
        expect_same_rows(mart, expected[mart], found[mart])


@pytest.mark.parametrize("target", TARGETS)
def test_the_fingerprint_is_no_number_that_a_model_could_be_fed(marts_on, target):
    """It is a hash of the future, too."""
    holding = [table.schema for table in marts_on(target).values() if "customer_fingerprint" in table.column_names]
    assert len(holding) == 6
    for schema in holding:
        assert not pa.types.is_primitive(schema.field("customer_fingerprint").type)


@pytest.fixture(scope="module")
def known_on(project_on):
    """The marts with known_at, in a schema of their own, on DuckDB in a database of their own."""
    made = {}

    def read(target: str) -> dict[str, pa.Table]:
        if target not in made:
            project = project_on(target)
            known = WarehouseProject(
                project.folder,
                project.folder / "known" if target == "duckdb" else project.scratch,
                target=target,
                settings=project.settings | {"CASPR_SCHEMA": "known"},
                variables=SETTINGS | {"known_at": True},
            )
            if target == "duckdb":
                known.scratch.mkdir()
                known.write(make_shop())
            known.dbt("--quiet", "run", "--select", *(f"+{mart}" for mart in KNOWN))
            if target == "duckdb":
                # Of the same rows elsewhere the tests would say the same.
                known.dbt("--quiet", "test", "--select", *KNOWN, "--indirect-selection", "cautious")
            made[target] = known.marts(*KNOWN)
        return made[target]

    return read


@pytest.mark.parametrize("target", TARGETS[1:])
def test_what_was_known_at_a_cutoff_is_the_same_as_on_duckdb(known_on, marts_on, target):
    expected, found = known_on("duckdb"), known_on(target)
    for mart in KNOWN:
        assert len(expected[mart]) > 2, mart
        expect_same_rows(mart, expected[mart], found[mart])
    assert rows_of(expected["rfm_features"]) != rows_of(marts_on("duckdb")["rfm_features"])


def test_duckdb_holds_what_was_worked_out_by_hand(marts_on):
    """The customer `hand`: two orders half a second apart on a Monday, a refund three weeks later; then the cutoff."""
    marts = marts_on("duckdb")
    log = [row for row in marts["activity_log"].to_pylist() if row["customer_id"] == "hand"]
    log.sort(key=lambda row: row["activity_number"])
    names = (
        "activity_id",
        "stream_rank",
        "activity_type",
        "seconds_since_previous",
        "order",
        "is_gift",
        "price",
        "units",
    )
    assert [tuple(row[name] for name in names) for row in log] == [
        ("h1", 1, "order", None, "shoe", 1.0, 1.5, 3.0),
        ("h2", 1, "order", 0.5, "shoe", 0.0, None, None),
        ("h3", 1, "refund", 21 * 86400.0, "", None, None, 0.0),
    ]
    first = [
        row for row in marts["rfm_features"].to_pylist() if (row["customer_id"], row["cutoff_at"].month) == ("hand", 2)
    ]
    (features,) = first
    assert features["activity_count"] == 3 and features["active_day_count"] == 2 and features["active_week_count"] == 2
    assert features["days_since_first_activity"] == 26.0
    assert features["days_since_last_activity"] == 4.999994  # 5 days less half a second
    assert features["spend_sum"] == 100.0 and features["refund_count"] == 1
    assert features["spend_mean"] == 33.333333 and features["spend_sd"] == 47.258156
    at_train = datetime(2025, 2, 1)
    labels = {row["customer_id"]: row for row in marts["churn_labels"].to_pylist() if row["cutoff_at"] == at_train}
    assert labels["hand"]["is_churned"] is True
    revenue = {
        row["customer_id"]: row for row in marts["lifetime_value_labels"].to_pylist() if row["cutoff_at"] == at_train
    }
    assert revenue["hand"]["future_revenue"] == 0.0 and revenue["hand"]["is_high_value"] is False
    profiles = {
        row["customer_id"]: row for row in marts["customer_profiles"].to_pylist() if row["cutoff_at"] == at_train
    }
    assert "stranger" not in profiles and profiles["hand"]["has_profile"] is True
    assert (profiles["hand"]["group"], profiles["hand"]["age"]) == ("b", 18.0)
    without = {row["customer_id"]: row["group"] for row in marts["customers_without_activity"].to_pylist()}
    assert without.pop("stranger", None) in WORDS
    assert without == {"日本人": "a", "o'dear": None, "Ä": "rouge d'été"}
    assert [(row["cutoff_at"], row["has_labels"]) for row in sorted(marts["cutoffs"].to_pylist(), key=str)] == [
        (datetime(2025, 2, 1), True),
        (datetime(2025, 3, 4, 13, 30), True),
        (datetime(2025, 4, 9, 23, 59, 59, 500_000), True),
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_ties_fall_in_the_order_of_bytes(marts_on, target):
    tied = [row for row in marts_on(target)["activity_log"].to_pylist() if row["customer_id"] == "tie"]
    tied.sort(key=lambda row: row["activity_number"])
    assert [row["activity_id"] for row in tied] == sorted(KEYS, key=lambda key: key.encode())


@pytest.mark.parametrize("target", TARGETS)
def test_numbers_are_rounded_to_the_same_double_everywhere(marts_on, target):
    numbers = dict(make_hard_values()["numbers"].rows)
    rows = marts_on(target)["shim_numbers"].to_pylist()
    assert len(rows) == len(numbers)
    for row in rows:
        number = numbers[row["number_id"]]
        is_finite = number is not None and abs(number) < 1e100
        expected = _rounded(number) if is_finite else number
        assert row["rounded"] == expected or (math.isnan(expected) and math.isnan(row["rounded"])), number
        assert row["rounded_finite"] == (expected if is_finite else None), number


def _rounded(number: float) -> float:
    """Halves away from zero, of the double that is a million times the number."""
    millionths = abs(number * 1e6)
    whole = math.floor(millionths)
    return math.copysign((whole + (millionths - whole >= 0.5)) / 1e6, number)


@pytest.mark.parametrize("target", TARGETS)
def test_times_are_utc_to_the_microsecond_everywhere(marts_on, target):
    times = {row[0]: row[1] for row in make_hard_values()["times"].rows}
    rows = marts_on(target)["shim_times"].to_pylist()
    assert len(rows) == len(times)
    for row in rows:
        at = times[row["time_id"]]
        midnight = datetime(at.year, at.month, at.day)
        assert row["from_time_at"] == row["instant_at"] == at
        assert row["day_at"] == row["period_day"] == midnight
        assert row["period_week"] == midnight - timedelta(days=midnight.weekday())
        assert row["period_month"] == midnight.replace(day=1)
        assert row["earlier_at"] == at - timedelta(days=45)
        assert math.isclose(row["seconds"], (at - midnight) / timedelta(seconds=1), rel_tol=1e-15)
        assert math.isclose(row["days"], (at - midnight) / timedelta(days=1), rel_tol=1e-15)


@pytest.mark.parametrize("target", TARGETS)
def test_hashes_tell_rows_apart_everywhere(marts_on, target):
    marts = marts_on(target)
    assert marts["shim_hashes"].schema.field("row_hash").type == pa.int64()
    hashes = marts["shim_hashes"]["row_hash"].to_pylist()
    assert None not in hashes and len(set(hashes)) == len(hashes) == len(make_hard_values()["pairs"].rows)
    assert abs(sum(hashes)) > 2**63, "the sum would fit: nothing is tested"
    assert marts["shim_hash_total"]["hash_total"].to_pylist() == [str(sum(hashes))]


TRAIN = ("--gpus", "0", "--epochs", "1", "--batch-size", "64")


@pytest.fixture(scope="module")
def scored_on(project_on):
    """scored_on(target): the project after training, scoring and building the predictions."""
    made = {}

    def road(target: str) -> WarehouseProject:
        project = project_on(target)
        if target not in made:
            runs = ("--runs", str(project.scratch / "runs"))
            said = project.caspr("train", *TRAIN, *runs)
            assert "`python -m caspr_train score` scores" in said
            said = project.caspr("score")
            assert re.search(r"churn_scores\W* \([1-9]", said), said
            project.dbt("--quiet", "--warn-error", "build", "--select", "source:caspr_trained+")
            # A second load replaces the first.
            assert "customer_embeddings" in project.caspr("load", *runs)
            made[target] = project
        return project

    return road


@pytest.mark.parametrize("target", TARGETS[1:])
def test_train_score_and_report(scored_on, target):
    project = scored_on(target)
    faces = (
        "customer_embeddings",
        "churn_predictions",
        "lifetime_value_predictions",
        "model_performance",
        "model_leaderboard",
        "customer_segments",
        "customer_segment_descriptions",
        "similar_customers",
        "product_recommendations",
        "customer_profiles",
        "customer_cutoffs",
        "customers_without_activity",
        "caspr_trained.churn_scores",
    )
    marts = project.marts(*faces)
    embedded = sorted((row["customer_id"], row["cutoff_at"]) for row in marts["customer_embeddings"].to_pylist())
    assert embedded == sorted((row["customer_id"], row["cutoff_at"]) for row in marts["customer_profiles"].to_pylist())
    assert marts["customer_embeddings"].schema.field("embedding").type.value_type == pa.float32()
    last = datetime.fromisoformat(CUTOFFS[-1])
    known = [row for row in marts["customer_cutoffs"].to_pylist() if row["cutoff_at"] == last]
    at_risk = [row["customer_id"] for row in known if row["is_at_risk"]]
    assert 0 < len(at_risk) < len(known)
    for face in ("churn_predictions", "lifetime_value_predictions"):
        champion = {row["task"]: row["representation"] for row in marts["model_leaderboard"].to_pylist()}
        assert set(marts[face]["representation"].to_pylist()) == {champion[face.removesuffix("_predictions")]}, face
        assert set(marts[face]["cutoff_at"].to_pylist()) == {last}
        assert sorted(marts[face]["customer_id"].to_pylist()) == sorted(at_risk), face
    assert "rfm_noise" in marts["model_performance"]["representation"].to_pylist()
    everybody = sorted(row["customer_id"] for row in known)
    assert sorted(marts["customer_segments"]["customer_id"].to_pylist()) == everybody
    assert set(marts["customer_segment_descriptions"]["segment"].to_pylist()) == set(
        marts["customer_segments"]["segment"].to_pylist()
    )
    assert set(marts["similar_customers"]["similar_customer_id"].to_pylist()) <= set(everybody)
    assert sorted(set(marts["similar_customers"]["customer_id"].to_pylist())) == everybody
    # With at_risk_days nobody is at risk who did nothing; what is popular is recommended to everybody.
    items = [row for row in marts["product_recommendations"].to_pylist() if not row["has_activity"]]
    strangers = set(marts["customers_without_activity"]["customer_id"].to_pylist())
    assert len(strangers) > 2 and {row["customer_id"] for row in items} == strangers
    assert {row["reason"] for row in items} == {"popular; no activity before the cutoff"}
    scores = [row for row in marts["caspr_trained.churn_scores"].to_pylist() if row["customer_id"] in strangers]
    assert sorted(row["customer_id"] for row in scores) == sorted(strangers)
    assert {row["representation"] for row in scores} == {"profile"}
    assert all(0 <= row["churn_probability"] <= 1 for row in scores)
    said = project.caspr("report")
    assert "lightgbm" in said and "churn_predictions" in said
    assert f"{len(strangers)} customers without any activity are predicted from their profile alone" in said


@pytest.mark.parametrize("target", TARGETS[1:])
def test_vectors_of_who_did_not_change_are_kept_and_old_versions_until_they_are_pruned(scored_on, target):
    project = scored_on(target)
    runs = ("--runs", str(project.scratch / "runs"))

    def vectors() -> list[tuple]:
        rows = project.marts("customer_embeddings")["customer_embeddings"].to_pylist()
        return sorted((row["customer_id"], row["cutoff_at"], row["model_version"], row["embedding"]) for row in rows)

    before = vectors()
    said = project.caspr("embed", "--gpus", "0", "--changed", *runs)
    assert "embedded 0 customers x cutoffs" in said and f"{len(before)} have not changed" in said
    assert vectors() == before
    assert "deleted 0 rows of" in project.caspr("prune")
    project.caspr("train", *TRAIN, "--seed", "8", *runs)
    after = vectors()
    assert [row[:2] for row in after] == [row[:2] for row in before]
    assert {row[2] for row in after}.isdisjoint({row[2] for row in before}), "the face shows the newest"
    said = project.caspr("prune")
    assert re.search(rf"\b{len(before)} rows of \S*customer_embeddings\S*, [1-9]\d* rows of", said), said
    assert vectors() == after


def test_a_customer_deleted_at_the_source_on_postgres(scored_on):
    """Gone from every mart and prediction with the next build, from the tables of scores when they are filled again."""
    project = scored_on("postgres")

    def tables_with(customer: str) -> set[str]:
        with project.postgres() as connection, connection.cursor() as cursor:
            cursor.execute(
                "select table_schema || '.' || table_name from information_schema.columns "
                "where column_name = 'customer_id' and table_schema in ('caspr', 'caspr_trained')"
            )
            names = {name for (name,) in cursor.fetchall()} - {f"caspr.{model}" for model in make_shop()}
            found = set()
            for name in names:
                cursor.execute(f"select 1 from {name} where customer_id = %s limit 1", (customer,))
                found |= {name} if cursor.fetchone() else set()
            return found

    before = tables_with("zoe")
    of_the_trainer = {name for name in before if name.startswith("caspr_trained.")}
    vectors = {"caspr_trained.customer_embeddings", "caspr_trained.control_embeddings"}
    scores = {f"caspr_trained.{name}" for name in ("churn_scores", "churn_evaluation", "nearest_customers")}
    assert {*vectors, *scores} <= of_the_trainer
    assert {"caspr.churn_predictions", "caspr.customer_embeddings", "caspr.activity_log"} <= before
    with project.postgres() as connection, connection.cursor() as cursor:
        for table in make_shop():
            cursor.execute(f"delete from raw.{table} where customer_id = 'zoe'")
    project.dbt("--quiet", "run")
    left = tables_with("zoe")
    project.caspr("score")
    left_after_scores = tables_with("zoe")
    project.write(make_shop())
    project.dbt("--quiet", "run")
    assert left == of_the_trainer
    assert left_after_scores == vectors


def test_what_was_scored_under_other_settings_is_not_shown(scored_on):
    """The cutoffs do not move with what churn is: only the settings tell."""
    project = scored_on("postgres")
    faces = ("churn_predictions", "lifetime_value_predictions", "prediction_deciles", "model_performance")
    tasks = {"churn", "lifetime_value", "fraud", "recommendation"}

    def shown(*variables: str) -> tuple[int, int, set, set]:
        project.dbt("--quiet", "run", "--select", *faces, *variables)
        churn, value, deciles, performance = project.marts(*faces).values()
        return len(churn), len(value), set(deciles["task"].to_pylist()), set(performance["task"].to_pylist())

    churn, value, deciles, performance = shown("--vars", json.dumps({"churn": {"activity_types": ["order"]}}))
    others = shown()
    assert churn == 0 and value == others[1] > 0 and others[0] > 0
    assert others[2:] == (deciles | {"churn"}, performance | {"churn"}) == (tasks - {"recommendation"}, tasks)
    assert "churn" not in deciles | performance


def test_on_duckdb_dbt_scores_by_itself(project_on):
    project_on("duckdb").caspr_fails(2, r"dbt runs the Python models that score: run `dbt build", "score")


def test_increments_equal_a_full_refresh_on_postgres(project_on):
    project = project_on("postgres")
    with project.postgres() as connection, connection.cursor() as cursor:
        cursor.execute(
            "update raw.orders set amount = 3.25, loaded_at = '2025-05-01' where customer_id in ('c1', '日本')"
        )
        cursor.execute("delete from raw.visits where customer_id = 'zoe' or visit_id % 7 = 0")
        cursor.execute("update raw.orders set customer_id = 'new' where customer_id = '_'")
        cursor.execute("delete from raw.letters where customer_id = 'C2'")
    before = project.marts(*MARTS)
    project.dbt("--quiet", "run")
    after = project.marts(*MARTS)
    project.dbt("--quiet", "run", "--full-refresh")
    refreshed = project.marts(*MARTS)
    project.write(make_shop())
    project.dbt("--quiet", "run")
    restored = project.marts(*MARTS)
    for mart in MARTS:
        expect_same_rows(mart, refreshed[mart], after[mart])
        expect_same_rows(mart, before[mart], restored[mart])
    assert rows_of(after["activity_log"])[0] != rows_of(before["activity_log"])[0]


@pytest.mark.parametrize("target", ["duckdb", "postgres"])
def test_an_attribute_of_another_kind_is_built_anew(project_on, target):
    project = project_on(target)
    orders, visits, letters = SETTINGS["streams"]
    others = [one for one in orders["attributes"] if one["name"] != "units"]
    changed = [
        {**orders, "attributes": [*others, {"name": "units", "kind": "categorical"}]},
        {**visits, "attributes": [{"name": "page", "column": "page_id", "kind": "numerical", "relative": True}]},
        letters,
    ]
    variables = ("--vars", json.dumps({**SETTINGS, "streams": changed}))
    marts = ("activity_attributes", "activity_log", "activity_sequences", "content_features")
    selected = ("--quiet", "run", "--select", *(f"+{mart}" for mart in marts))
    before = project.marts(*marts)
    project.dbt(*selected, *variables)
    after = project.marts(*marts)
    project.dbt(*selected, *variables, "--full-refresh")
    refreshed = project.marts(*marts)
    project.dbt(*selected)
    restored = project.marts(*marts)
    project.dbt(*selected, "--full-refresh")
    assert after["activity_log"].schema.field("units").type == pa.string()
    assert after["activity_log"].schema.field("page").type == pa.float64()
    assert {0.0, 1.0} <= set(after["activity_log"]["page"].to_pylist())
    for mart in marts:
        # A column that is added comes last.
        expect_same_rows(mart, refreshed[mart], after[mart].select(refreshed[mart].column_names))
        expect_same_rows(mart, before[mart], restored[mart].select(before[mart].column_names))


def test_a_column_in_other_letters_is_named_where_letters_count(project_on):
    project = project_on("postgres")
    orders = {**SETTINGS["streams"][0], "attributes": [{"name": "amount", "column": "Amount", "kind": "numerical"}]}
    variables = json.dumps({**SETTINGS, "streams": [orders]})
    done = project.try_dbt("run", "--select", "rejected_activities", "--vars", variables)
    assert done.returncode == 1
    assert 'streams[0].attributes[0].column is "Amount"; expected a column of model' in done.stdout


def test_this_project_with_its_unit_tests_on_postgres(postgres, tmp_path):
    """The demo shop; the seeds of a Spark session would hold the text None for null (dbt-spark), so not there."""
    project = WarehouseProject(
        ROOT, tmp_path, target="postgres", settings=postgres.settings() | {"CASPR_SCHEMA": "demo"}, unit_tests=True
    )
    project.dbt("--quiet", "--warn-error", "build")
    results = json.loads((tmp_path / "target" / "run_results.json").read_text())["results"]
    units = [result["status"] for result in results if result["unique_id"].startswith("unit_test.")]
    assert len(units) > 15 and set(units) == {"pass"}


def test_a_load_that_fails_on_postgres_changes_nothing(scored_on):
    project = scored_on("postgres")
    runs = ("--runs", str(project.scratch / "runs"))
    with project.postgres() as connection, connection.cursor() as cursor:
        cursor.execute(
            "update caspr_trained.customer_embeddings set model_version = 'before', embedded_at = '2020-01-01'"
        )
        cursor.execute("alter table caspr_trained.training_runs rename column preset to other")
    project.caspr_fails(1, r"nothing was: .*preset", "load", *runs)
    with project.postgres() as connection, connection.cursor() as cursor:
        cursor.execute("select distinct model_version from caspr_trained.customer_embeddings")
        assert cursor.fetchall() == [("before",)]
        cursor.execute("alter table caspr_trained.training_runs rename column other to preset")
    project.caspr("load", *runs)
    project.caspr("prune")
    with project.postgres() as connection, connection.cursor() as cursor:
        cursor.execute("select distinct model_version = 'before' from caspr_trained.customer_embeddings")
        assert cursor.fetchall() == [(False,)]


def test_an_error_in_the_middle_of_a_stream_from_postgres_is_one_line(project_on):
    """The division by zero comes after a hundred thousand rows were handed on."""
    project = project_on("postgres")
    code = (
        "from pathlib import Path; from caspr_train.project import DbtProject\n"
        "from caspr_train.errors import DataError; from caspr_train.warehouse import open_warehouse\n"
        "with open_warehouse(DbtProject.load(Path())).reading() as reader:\n"
        "    stream, rows = reader.stream('select 1 / (5000000 - n) as n from generate_series(1, 5000000) as n'), 0\n"
        "    try:\n"
        "        for batch in stream: rows += len(batch)\n"
        "    except DataError as error:\n"
        "        print(rows > 100000, error)\n"
    )
    said = project.run(sys.executable, "-c", code)
    assert re.fullmatch(r"True postgres .*a mart cannot be read: .*division by zero.*\n", said.stdout), said


def test_a_table_that_another_process_holds_on_postgres(scored_on):
    project = scored_on("postgres")
    with project.postgres() as connection, connection.cursor() as cursor:
        cursor.execute("lock table caspr_trained.item_embeddings in access exclusive mode")
        project.caspr_fails(
            1,
            r"still held by another process after 1 s",
            "load",
            "--wait",
            "1",
            "--runs",
            str(project.scratch / "runs"),
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"CASPR_POSTGRES_PORT": "1"}, r"no connection: .*refused"),
        ({"CASPR_POSTGRES_DATABASE": "nowhere"}, r'no connection: database "nowhere" does not exist'),
        ({"DBT_ENV_SECRET_CASPR_POSTGRES_PASSWORD": "wrong"}, r"no connection: password authentication failed"),
        ({"CASPR_SCHEMA": "empty"}, r"does not exist.*run `dbt build` first"),
    ],
)
def test_errors_of_postgres_are_one_line(project_on, settings, message):
    project = project_on("postgres")
    wrong = WarehouseProject(project.folder, project.scratch, target="postgres", settings=project.settings | settings)
    wrong.caspr_fails(1, message, "report")


def test_a_schema_without_marts_on_spark_is_one_line(project_on):
    project = project_on("spark")
    settings = project.settings | {"CASPR_SCHEMA": "empty"}
    wrong = WarehouseProject(project.folder, project.scratch, target="spark", settings=settings)
    wrong.caspr_fails(1, r"run `dbt build` first", "report")


def test_a_session_that_is_not_in_utc_stops_dbt(project_on):
    project = project_on("spark")
    profiles = project.scratch / "profiles"
    profiles.mkdir()
    text = (ROOT / "profiles" / "profiles.yml").read_text()
    assert "timeZone: UTC" in text
    (profiles / "profiles.yml").write_text(text.replace("timeZone: UTC", "timeZone: Asia/Tokyo"))
    done = project.try_dbt("build", "--select", "cutoffs", "--profiles-dir", str(profiles))
    assert done.returncode != 0
    assert "the session's time zone is Asia/Tokyo; expected UTC" in done.stdout + done.stderr


def test_a_load_that_broke_off_between_two_renames_on_spark_is_mended_by_the_next(scored_on):
    """Of one table the new one was not in place yet, and dbt has made an empty one; of another the old one was left;
    the place of a third one's new table holds files that the metastore does not know."""
    project = scored_on("spark")
    left = project.scratch / "spark-warehouse" / "caspr_trained.db" / "control_embeddings__new"
    assert left.with_name("control_embeddings").is_dir()
    left.mkdir()
    (left / "part-0").write_text("half of a table")
    begin = (
        "from pathlib import Path; from caspr_train.project import DbtProject\n"
        "from caspr_train.warehouse import open_warehouse\n"
        "warehouse = open_warehouse(DbtProject.load(Path()))\n"
        "with warehouse._session() as session:\n"
    )
    breaking_off = (
        "    from pyspark.sql import functions as f\n"
        "    table, beside, old = (warehouse._table('customer_embeddings', end) for end in ('', '__new', '__old'))\n"
        "    rows = session.table(table)\n"
        "    before = rows.withColumn('model_version', f.lit('before'))\n"
        "    before = before.withColumn('embedded_at', f.lit('2020-01-01').cast('timestamp'))\n"
        "    before.write.format('parquet').saveAsTable(old)\n"
        "    rows.write.format('parquet').saveAsTable(beside)\n"
        "    session.sql(f'truncate table {table}')\n"
        "    runs = warehouse._table('training_runs')\n"
        "    left = warehouse._table('training_runs', '__old')\n"
        "    session.table(runs).write.format('parquet').saveAsTable(left)\n"
    )
    project.run(sys.executable, "-c", begin + breaking_off)
    project.caspr("load", "--runs", str(project.scratch / "runs"))
    looking = (
        "    versions = session.table(warehouse._table('customer_embeddings')).select('model_version').distinct()\n"
        "    schema = warehouse.project.source_node('training_runs').schema\n"
        "    tables = [row.tableName for row in session.sql(f'show tables in {schema}').collect()]\n"
        "    print(len(versions.collect()), [name for name in tables if '__' in name])\n"
    )
    assert project.run(sys.executable, "-c", begin + looking).stdout.strip() == "2 []"
    assert not left.exists()

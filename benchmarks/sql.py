"""What the SQL costs: `make bench-sql`.

The demo shop is simulated with 100 thousand and with a million customers, and its staged streams are made tables, so
that both sides read the same rows. The floor is one flat `order by customer_id, occurred_at` of all of them, written to
a table. Against it stand `activity_log`, `activity_sequences` and `rfm_features` at three cutoffs as `dbt run` builds
them. Floor and marts take turns within one run, because machines are noisy; the ratio is of the medians.

Seconds of models are dbt's own execution times at one dbt thread and two DuckDB threads, without dbt's start. Memory is
the largest resident set of the dbt process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.shop import GIB, MEMORY, Shop

MARTS = ("activity_log", "activity_sequences", "rfm_features")
# What the three marts need, and what keeps them incremental.
BESIDE = (
    "rejected_activities",
    "superseded_activities",
    "customer_fingerprints",
    "cutoffs",
    "customer_cutoffs",
    "activity_attributes",
    "attribute_values",
)


@dataclass
class Build:
    """One `dbt run` of the marts and of what they need."""

    seconds: dict[str, float]  # by model
    peak_bytes: int

    @property
    def marts(self) -> float:
        return sum(self.seconds[name] for name in MARTS)

    @property
    def everything(self) -> float:
        return sum(self.seconds.values())


def build(shop: Shop, *arguments: str) -> Build:
    """Runs the marts and what they need."""
    peak = shop.dbt("run", "--select", *BESIDE, *MARTS, *arguments)
    results = json.loads((shop.folder / "target" / "run_results.json").read_text())["results"]
    models = [result for result in results if result["unique_id"].startswith("model.")]
    return Build({result["unique_id"].rsplit(".", 1)[1]: result["execution_time"] for result in models}, peak)


def sort_flat(shop: Shop) -> float:
    """Seconds of the floor."""
    with shop.connect() as connection:
        begin = time.perf_counter()
        connection.execute("create or replace table flat as from streams order by customer_id, occurred_at")
        seconds = time.perf_counter() - begin
        connection.execute("drop table flat")
    return seconds


def touch(shop: Shop, share: float) -> int:
    """One more web visit of each of so many customers, before the last activity; how many customers that is."""
    with shop.connect() as connection:
        connection.execute(
            f"""
            insert into stg_web_visits by name
            select
                * replace ('more-' || visit_id as visit_id, visited_at - interval 1 second as visited_at)
            from stg_web_visits
            where hash(customer_id) % 10_000 < {round(share * 10_000)}
            qualify row_number() over (partition by customer_id order by visited_at desc) = 1
            """
        )
        found = connection.execute("select count(*) from stg_web_visits where visit_id like 'more-%'").fetchone()
    assert found is not None
    return found[0]


def measure(shop: Shop, rounds: int) -> tuple[list[float], list[Build]]:
    """Floor and full build in turn. The first round warms up and is not counted."""
    floors, builds = [], []
    for turn in range(rounds + 1):
        floor, full = sort_flat(shop), build(shop, "--full-refresh")
        if turn:
            floors.append(floor)
            builds.append(full)
    return floors, builds


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-sql", description="What the SQL costs against one flat sort.")
    parser.add_argument("--customers", type=int, default=1_000_000, help="the larger shop; the smaller is a tenth")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds of each (default: 3)")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="caspr-bench-") as scratch:
        marts = {}
        for customers in (given.customers // 10, given.customers):
            shop = Shop(customers, Path(scratch) / str(customers))
            floors, builds = measure(shop, given.rounds)
            floor = statistics.median(floors)
            marts[customers] = statistics.median(one.marts for one in builds)
            everything = statistics.median(one.everything for one in builds)
            peak = max(one.peak_bytes for one in builds)
            print(
                f"\n{customers:,} customers, {shop.count('activity_log'):,} activities, "
                f"{shop.count('cutoffs')} cutoffs, {shop.count('activity_sequences'):,} rows of sequences; "
                f"medians of {given.rounds}"
            )
            print(f"  {'one flat sort':<24}{floor:8.2f} s   (from {min(floors):.2f} to {max(floors):.2f})")
            for name in MARTS + BESIDE:
                seconds = statistics.median(one.seconds[name] for one in builds)
                print(f"  {name:<24}{seconds:8.2f} s   {seconds / floor:5.2f} x the sort")
            print(f"  {'the three marts':<24}{marts[customers]:8.2f} s   {marts[customers] / floor:5.2f} x the sort")
            print(f"  {'with what they need':<24}{everything:8.2f} s   {everything / floor:5.2f} x the sort")
            print(f"  {'peak memory':<24}{peak / GIB:8.2f} GiB", flush=True)

        small, large = marts.values()
        times = large / small
        print(f"\nten times the customers: {times:.2f} x the time, which grows {times / 10:.2f} x as fast as the data")

        touched = touch(shop, 0.01)
        increment = build(shop)
        idle = build(shop)
        print(f"\nan incremental run that touches {touched:,} customers, against the full build of the same models")
        print(f"  {'three marts':<24}{increment.marts:8.2f} s   {increment.marts / marts[customers]:6.1%}")
        print(f"  {'with what they need':<24}{increment.everything:8.2f} s   {increment.everything / everything:6.1%}")
        print(f"  {'that touches nobody':<24}{idle.everything:8.2f} s   {idle.everything / everything:6.1%}")

        shop.limit_memory("4GiB")
        limited = build(shop, "--full-refresh")
        print("\nDuckDB's memory_limit at 4 GiB, full build")
        ratio = limited.marts / marts[customers]
        print(f"  {'the three marts':<24}{limited.marts:8.2f} s   {ratio:5.2f} x the time at {MEMORY}")
        print(f"  {'peak memory':<24}{limited.peak_bytes / GIB:8.2f} GiB")


if __name__ == "__main__":
    main()

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
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb
import yaml

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
THREADS = 2
MEMORY = "6GiB"  # as in profiles/profiles.yml
# The demo's streams and their columns of time.
STREAMS = {
    "stg_order_lines": "ordered_at",
    "stg_web_visits": "visited_at",
    "stg_tickets_opened": "opened_at",
    "stg_tickets_answered": "answered_at",
}
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
GIB = 2**30


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


class Shop:
    """The demo shop of one size, in a database of its own."""

    def __init__(self, customers: int, folder: Path) -> None:
        self.folder = folder
        self.customers = customers
        self.database = folder / "caspr.duckdb"
        folder.mkdir()
        self.limit_memory(MEMORY)
        raw = folder / "raw"
        _run([sys.executable, "-m", "caspr_train", "simulate", "--customers", str(customers), "--out", str(raw)])
        with self.connect() as connection:
            for file in sorted(raw.glob("*.parquet")):
                connection.execute(f"create table {file.stem} as from read_parquet('{file}')")
        shutil.rmtree(raw)
        self.dbt("run", "--select", "models/demo")
        with self.connect() as connection:
            for name in STREAMS:
                connection.execute(f"create table made as from {name}")
                connection.execute(f"drop view {name}")
                connection.execute(f"alter table made rename to {name}")
            streams = (f"select * rename ({at} as occurred_at) from {name}" for name, at in STREAMS.items())
            connection.execute(f"create view streams as {' union all by name '.join(streams)}")

    def limit_memory(self, limit: str) -> None:
        """From here on dbt runs with DuckDB's memory_limit at `limit`, such as 4GiB."""
        settings = {"threads": THREADS, "memory_limit": limit}
        output = {"type": "duckdb", "path": str(self.database), "threads": 1, "settings": settings}
        profile = {"caspr": {"target": "bench", "outputs": {"bench": output}}}
        (self.folder / "profiles.yml").write_text(yaml.safe_dump(profile))

    def connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.database), config={"threads": THREADS})

    def dbt(self, *arguments: str) -> int:
        """Runs dbt in a process of its own; its peak resident memory in bytes."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DBT_", "CASPR_"))}
        places = {
            "DBT_PROFILES_DIR": str(self.folder),
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "logs"),
        }
        return _run([str(BIN / "dbt"), "--quiet", *arguments], kept | places)

    def build(self, *arguments: str) -> Build:
        peak = self.dbt("run", "--select", *BESIDE, *MARTS, *arguments)
        results = json.loads((self.folder / "target" / "run_results.json").read_text())["results"]
        models = [result for result in results if result["unique_id"].startswith("model.")]
        return Build({result["unique_id"].rsplit(".", 1)[1]: result["execution_time"] for result in models}, peak)

    def sort_flat(self) -> float:
        """Seconds of the floor."""
        with self.connect() as connection:
            begin = time.perf_counter()
            connection.execute("create or replace table flat as from streams order by customer_id, occurred_at")
            seconds = time.perf_counter() - begin
            connection.execute("drop table flat")
        return seconds

    def touch(self, share: float) -> int:
        """One more web visit of each of so many customers, before the last activity; how many customers that is."""
        with self.connect() as connection:
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

    def count(self, table: str) -> int:
        with self.connect() as connection:
            found = connection.execute(f"select count(*) from {table}").fetchone()
        assert found is not None
        return found[0]


def _run(command: list[str], environment: dict[str, str] | None = None) -> int:
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
    return usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)  # Linux counts KiB


def measure(shop: Shop, rounds: int) -> tuple[list[float], list[Build]]:
    """Floor and full build in turn. The first round warms up and is not counted."""
    floors, builds = [], []
    for turn in range(rounds + 1):
        floor, build = shop.sort_flat(), shop.build("--full-refresh")
        if turn:
            floors.append(floor)
            builds.append(build)
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
            marts[customers] = statistics.median(build.marts for build in builds)
            everything = statistics.median(build.everything for build in builds)
            peak = max(build.peak_bytes for build in builds)
            print(
                f"\n{customers:,} customers, {shop.count('activity_log'):,} activities, "
                f"{shop.count('cutoffs')} cutoffs, {shop.count('activity_sequences'):,} rows of sequences; "
                f"medians of {given.rounds}"
            )
            print(f"  {'one flat sort':<24}{floor:8.2f} s   (from {min(floors):.2f} to {max(floors):.2f})")
            for name in MARTS + BESIDE:
                seconds = statistics.median(build.seconds[name] for build in builds)
                print(f"  {name:<24}{seconds:8.2f} s   {seconds / floor:5.2f} x the sort")
            print(f"  {'the three marts':<24}{marts[customers]:8.2f} s   {marts[customers] / floor:5.2f} x the sort")
            print(f"  {'with what they need':<24}{everything:8.2f} s   {everything / floor:5.2f} x the sort")
            print(f"  {'peak memory':<24}{peak / GIB:8.2f} GiB", flush=True)

        small, large = marts.values()
        times = large / small
        print(f"\nten times the customers: {times:.2f} x the time, which grows {times / 10:.2f} x as fast as the data")

        touched = shop.touch(0.01)
        increment = shop.build()
        idle = shop.build()
        print(f"\nan incremental run that touches {touched:,} customers, against the full build of the same models")
        print(f"  {'three marts':<24}{increment.marts:8.2f} s   {increment.marts / marts[customers]:6.1%}")
        print(f"  {'with what they need':<24}{increment.everything:8.2f} s   {increment.everything / everything:6.1%}")
        print(f"  {'that touches nobody':<24}{idle.everything:8.2f} s   {idle.everything / everything:6.1%}")

        shop.limit_memory("4GiB")
        limited = shop.build("--full-refresh")
        print("\nDuckDB's memory_limit at 4 GiB, full build")
        ratio = limited.marts / marts[customers]
        print(f"  {'the three marts':<24}{limited.marts:8.2f} s   {ratio:5.2f} x the time at {MEMORY}")
        print(f"  {'peak memory':<24}{limited.peak_bytes / GIB:8.2f} GiB")


if __name__ == "__main__":
    main()

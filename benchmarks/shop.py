"""The demo shop of any size, for benchmarks."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
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
GIB = 2**30


class Shop:
    """The demo shop of one size, in a database of its own. Its staged streams are tables."""

    def __init__(self, customers: int, folder: Path) -> None:
        self.folder = folder
        self.customers = customers
        self.database = folder / "caspr.duckdb"
        folder.mkdir()
        self.limit_memory(MEMORY)
        raw = folder / "raw"
        self.caspr("simulate", "--customers", str(customers), "--out", str(raw))
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
        return self._run([str(BIN / "dbt"), "--quiet", *arguments])

    def caspr(self, *arguments: str) -> int:
        """The same for caspr_train."""
        return self._run([sys.executable, "-m", "caspr_train", *arguments])

    def count(self, table: str) -> int:
        with self.connect() as connection:
            found = connection.execute(f"select count(*) from {table}").fetchone()
        assert found is not None
        return found[0]

    def _run(self, command: list[str]) -> int:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DBT_", "CASPR_"))}
        places = {
            "DBT_PROFILES_DIR": str(self.folder),
            "DBT_TARGET_PATH": str(self.folder / "target"),
            "DBT_LOG_PATH": str(self.folder / "logs"),
        }
        pipe, whole = subprocess.PIPE, subprocess.STDOUT
        process = subprocess.Popen(command, cwd=ROOT, env=kept | places, stdout=pipe, stderr=whole)
        assert process.stdout is not None
        said = process.stdout.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
        return usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)  # Linux counts KiB

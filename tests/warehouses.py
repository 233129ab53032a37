"""Real warehouses for tests: a throw-away Postgres, a Spark session in a folder of its own, one project on them all."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.forks import run_script
from tests.projects import ROOT, Project

PASSWORD = "not a secret: the server lives as long as the tests"
# name of a raw table's column type: (DuckDB and Postgres, Arrow)
TYPES = {
    "text": ("text", pa.string()),
    "time": ("timestamp", pa.timestamp("us")),
    "instant": ("timestamptz", pa.timestamp("us", "UTC")),
    "day": ("date", pa.date32()),
    "double": ("double precision", pa.float64()),
    "whole": ("integer", pa.int32()),
    "money": ("decimal(10, 2)", pa.decimal128(10, 2)),
    "flag": ("boolean", pa.bool_()),
}


@dataclass
class RawTable:
    """Rows as tuples in the order of `columns`, which says the type of each."""

    columns: dict[str, str]
    rows: list[tuple]

    def arrow(self) -> pa.Table:
        arrays = [
            pa.array([row[place] for row in self.rows], TYPES[kind][1])
            for place, kind in enumerate(self.columns.values())
        ]
        return pa.table(arrays, names=list(self.columns))

    def definition(self) -> str:
        return ", ".join(f'"{name}" {TYPES[kind][0]}' for name, kind in self.columns.items())


# A model of the installing project that reads a raw table: Spark has no schema `raw`, it reads the file itself.
RAW_MODEL = (
    "select * from {{% if target.type == 'spark' %}}parquet.`{{{{ env_var('RAW_FOLDER') }}}}/{name}.parquet`"
    "{{% else %}}raw.{name}{{% endif %}}"
)


@dataclass
class WarehouseProject(Project):
    """A project on one of the targets of profiles/profiles.yml."""

    target: str = "duckdb"
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        raw = {"CASPR_TARGET": self.target, "RAW_FOLDER": str(self.scratch / "raw")}
        return {**super().environment, **raw, **self.settings}

    def write(self, tables: dict[str, RawTable]) -> None:
        """Make the raw tables, in place of those of the same names."""
        {"duckdb": self._write_duckdb, "postgres": self._write_postgres, "spark": self._write_spark}[self.target](
            tables
        )

    def _write_duckdb(self, tables: dict[str, RawTable]) -> None:
        with self.connect() as connection:
            connection.execute("create schema if not exists raw")
            for name, table in tables.items():
                arrow = table.arrow()  # noqa: F841 (DuckDB finds it by its name)
                connection.execute(f"create or replace table raw.{name} ({table.definition()})")
                connection.execute(f"insert into raw.{name} select * from arrow")

    def _write_postgres(self, tables: dict[str, RawTable]) -> None:
        from psycopg2.extras import execute_values

        with self.postgres() as connection, connection.cursor() as cursor:
            cursor.execute("set timezone to 'UTC'; create schema if not exists raw")
            for name, table in tables.items():
                cursor.execute(
                    f"drop table if exists raw.{name} cascade; create table raw.{name} ({table.definition()})"
                )
                execute_values(cursor, f"insert into raw.{name} values %s", table.rows)

    def _write_spark(self, tables: dict[str, RawTable]) -> None:
        (self.scratch / "raw").mkdir(exist_ok=True)
        for name, table in tables.items():
            pq.write_table(table.arrow(), self.scratch / "raw" / f"{name}.parquet")

    def postgres(self):
        """A connection to the target's database; used as a block it commits at its end."""
        import psycopg2

        return psycopg2.connect(
            host=self.settings["CASPR_POSTGRES_HOST"],
            port=self.settings["CASPR_POSTGRES_PORT"],
            user="caspr",
            password=PASSWORD,
            dbname=self.settings["CASPR_POSTGRES_DATABASE"],
        )

    def marts(self, *names: str) -> dict[str, pa.Table]:
        """The marts as the trainer reads them, in a process of its own."""
        folder = self.scratch / "marts"
        folder.mkdir(exist_ok=True)
        done = run_script(ROOT / "tests" / "read_marts.py", [str(folder), *names], self.folder, self.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return {name: pq.read_table(folder / f"{name}.parquet") for name in names}


class Postgres:
    """A server of its own in a temporary folder, on 127.0.0.1 and a free port, with a password; gone at the end."""

    def __init__(self) -> None:
        self.programs = postgres_programs()
        # Postgres does not run as root, and pytest's folders are closed to others.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="caspr_postgres_"))
        self.port = _free_port()

    def __enter__(self) -> Postgres:
        (self.folder / "password").write_text(PASSWORD)
        if self.user:
            for path in (self.folder, self.folder / "password"):
                shutil.chown(path, self.user)
        try:
            data = self.folder / "data"
            # A language's collation, as most databases have: only then is the order of bytes a question.
            locale = ["--locale=C.UTF-8", "--encoding=UTF8"]
            said = subprocess.run([self.programs / "initdb", "--version"], capture_output=True, text=True).stdout
            if int(re.search(r"[0-9]+", said)[0]) >= 15:
                locale += ["--locale-provider=icu", "--icu-locale=en"]
            login = ("--username=caspr", "--auth=scram-sha-256", f"--pwfile={self.folder / 'password'}")
            self._run("initdb", "-D", data, *locale, *login)
            options = (
                f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c timezone=Asia/Tokyo"
            )
            self._run("pg_ctl", "-D", data, "-o", options, "-l", self.folder / "log", "-w", "start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def settings(self, database: str = "postgres") -> dict[str, str]:
        """What profiles/profiles.yml reads for this server."""
        return {
            "CASPR_POSTGRES_HOST": "127.0.0.1",
            "CASPR_POSTGRES_PORT": str(self.port),
            "CASPR_POSTGRES_DATABASE": database,
            "DBT_ENV_SECRET_CASPR_POSTGRES_PASSWORD": PASSWORD,
        }

    def _run(self, program: str, *arguments: str | Path) -> None:
        words = [str(word) for word in (self.programs / program, *arguments)]
        # Into a file: the server inherits the output, and a pipe would stay open as long as it lives.
        with (self.folder / f"{program}.log").open("ab") as log:
            done = subprocess.run(words, stdout=log, stderr=log, user=self.user, cwd="/")
        said = (self.folder / f"{program}.log").read_text(errors="replace")
        assert done.returncode == 0, said + (
            (self.folder / "log").read_text() if (self.folder / "log").exists() else ""
        )


def postgres_programs() -> Path | None:
    """The folder of initdb and pg_ctl: on the path, or where Debian keeps them."""
    found = [shutil.which("initdb"), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True))]
    return next((Path(path).resolve().parent for path in found if path), None)


def why_no_postgres() -> str | None:
    """What is missing for tests on Postgres, and how to get it; None where nothing is."""
    if postgres_programs() is None:
        return "no initdb: install PostgreSQL (Debian, Ubuntu: apt-get install postgresql)"
    if importlib.util.find_spec("dbt.adapters.postgres") is None or not importlib.util.find_spec(
        "adbc_driver_postgresql"
    ):
        return "no Postgres adapter or driver: pip install -e '.[postgres]'"
    return None


def why_no_spark() -> str | None:
    """What is missing for tests on Spark, and how to get it; None where nothing is."""
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        return "no Java: install 17 or newer (Debian, Ubuntu: apt-get install openjdk-17-jre-headless)"
    if importlib.util.find_spec("dbt.adapters.spark") is None or importlib.util.find_spec("pyspark") is None:
        return "no Spark: pip install -e '.[spark]'"
    return None


def spark_settings(folder: Path) -> dict[str, str]:
    """What profiles/profiles.yml reads for a session whose tables lie in `folder`."""
    # A Java that lives for minutes never gets back what its second compiler costs.
    java = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
    places = {"CASPR_SPARK_DIR": str(folder), "SPARK_LOCAL_IP": "127.0.0.1"}
    return places | {"CASPR_SPARK_MEMORY": "1g", "JDK_JAVA_OPTIONS": java}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

"""DuckDB: one file, one writer process or many readers. Opened late, closed at once."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from caspr_train.errors import DataError
from caspr_train.project import DbtProject
from caspr_train.warehouse import trained
from caspr_train.warehouse.reader import Reader
from caspr_train.warehouse.trained import RUN_TABLES, first_line

SECONDS_BETWEEN_TRIES = 1.0
ROWS_A_BATCH = 65_536
# Left alone, DuckDB takes 80 % of the machine's memory to order the activities; above this it uses the disk.
MEMORY = "2GiB"


@dataclass
class DuckDBWarehouse:
    """Reads the marts of the project's target and loads the trainer's tables into it."""

    project: DbtProject
    wait_seconds: float = 60.0

    @property
    def path(self) -> str:
        return self.project.credentials.path

    def __str__(self) -> str:
        return f"{self.path} (target {self.project.target})"

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """A read-only connection to the marts, open inside the block only."""
        connection = self._open(read_only=True)
        try:
            if "memory_limit" not in (self.project.credentials.config_options or {}):
                connection.execute(f"set memory_limit = '{MEMORY}'")
            yield Reader(
                self.project,
                str(self),
                lambda sql: self._query(connection, sql),
                lambda sql: self._stream(connection, sql),
            )
        finally:
            connection.close()

    def load(self, run: Path) -> dict[str, int]:
        """Put the files of the folder `run` into the trainer's tables in one transaction; rows by table.

        They replace the rows of the run's version; readers see all of them as they were or as they will be.
        """
        rows = {}
        with self._writing() as connection:
            try:
                table = "training_runs"
                runs = f"read_parquet({_literal(run / 'training_runs.parquet')})"
                versions = connection.execute(f"select model_version from {runs}").fetchall()
                for table in RUN_TABLES:
                    relation, new = self.project.source(table), f"read_parquet({_literal(run / f'{table}.parquet')})"
                    connection.executemany(f"delete from {relation} where model_version = ?", versions)
                    rows[table] = connection.execute(f"insert into {relation} by name from {new}").fetchall()[0][0]
                connection.execute("commit")
            except duckdb.CatalogException:
                raise
            except duckdb.Error as error:
                raise DataError(
                    f"{self}: {table} of {run} cannot be loaded, and nothing was: {first_line(error)}. A file cut "
                    "short: embed again. Tables of another version of this package: run `dbt build` first"
                ) from None
        return rows

    def write_evaluations(self, evaluations: pa.Table, model_version: str) -> int:
        """Put the rows into model_evaluations, in the place of those of that model, in one transaction; how many."""
        relation = self.project.source("model_evaluations")
        with self._writing() as connection:
            try:
                connection.register("evaluations", evaluations)
                connection.execute(f"delete from {relation} where model_version = ?", [model_version])
                connection.execute(f"insert into {relation} by name from evaluations")
                connection.execute("commit")
            except duckdb.CatalogException:
                raise
            except duckdb.Error as error:
                raise DataError(f"{self}: the evaluations cannot be loaded: {first_line(error)}") from None
        return len(evaluations)

    def prune(self, keep: int) -> dict[str, int]:
        """Delete the vectors of all but the `keep` versions embedded last, and of who is no customer any more, in one
        transaction; deleted rows by table."""
        with self._writing() as connection:
            try:
                pruned = trained.prunings(self.project, keep)
                rows = {name: connection.execute(sql).fetchall()[0][0] for name, sql in pruned.items()}
                connection.execute("commit")
            except duckdb.CatalogException:
                raise
            except duckdb.Error as error:
                raise DataError(f"{self}: nothing was pruned: {first_line(error)}") from None
        return rows

    @contextmanager
    def _writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection within a transaction, which is undone unless it is committed in the block."""
        connection = self._open(read_only=False)
        try:
            connection.execute("begin")
            yield connection
        except duckdb.CatalogException as error:
            raise DataError(
                f"{self}: {first_line(error)}. The trainer's tables are made at the start of every dbt run: "
                "run `dbt build` first"
            ) from None
        finally:
            connection.close()

    def _query(self, connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
        with self._one_line():
            return connection.sql(sql).to_arrow_table()

    def _stream(self, connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
        with self._one_line():
            yield from connection.sql(sql).to_arrow_reader(ROWS_A_BATCH)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Errors of DuckDB, and of Arrow while it hands on DuckDB's rows, as a DataError."""
        try:
            yield
        except duckdb.CatalogException as error:
            raise DataError(f"{self}: {first_line(error)}; run `dbt build` first") from None
        except duckdb.BinderException as error:
            raise DataError(
                f"{self}: {first_line(error)}; the marts were built from other settings, run `dbt build` again"
            ) from None
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise DataError(f"{self}: a mart cannot be read: {first_line(error)}") from None

    def _open(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        """Connect, waiting while another process holds the file."""
        if self.path == ":memory:":
            raise DataError(
                f"target {self.project.target} keeps its tables in memory, where no other process finds them: give it "
                "a file with `path` in profiles.yml"
            )
        if not Path(self.path).is_file():
            raise DataError(f"no database at {self.path} (target {self.project.target}): run `dbt build` first")
        config = dict(self.project.credentials.config_options or {})
        deadline, told = time.monotonic() + self.wait_seconds, False
        while True:
            try:
                return duckdb.connect(self.path, read_only=read_only, config=config)
            except duckdb.IOException as error:
                if "Could not set lock" not in str(error):
                    raise DataError(f"{self.path} cannot be opened: {first_line(error)}") from None
                if time.monotonic() >= deadline:
                    raise DataError(
                        f"{self.path} is still held by another process after {self.wait_seconds:.0f} s "
                        f"({first_line(error)}); end that process and try again"
                    ) from None
                if not told:
                    print(
                        f"{self.path} is held by another process; waiting up to {self.wait_seconds:.0f} s ...",
                        file=sys.stderr,
                        flush=True,
                    )
                    told = True
                time.sleep(SECONDS_BETWEEN_TRIES)


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"

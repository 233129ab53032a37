"""Postgres: read through Arrow's own driver (binary COPY), written in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from caspr_train.errors import DataError
from caspr_train.project import DbtProject
from caspr_train.warehouse import trained
from caspr_train.warehouse.reader import Reader, without_zone
from caspr_train.warehouse.trained import NewRows, first_line

# https://www.postgresql.org/docs/current/errcodes-appendix.html
UNDEFINED = {"42P01", "3F000"}
UNDEFINED_COLUMN = {"42703"}
WAITED_TOO_LONG = {"55P03"}


@dataclass
class PostgresWarehouse:
    """Reads the marts of the project's target and loads the trainer's tables into it."""

    project: DbtProject
    wait_seconds: float = 60.0

    def __str__(self) -> str:
        c = self.project.credentials
        return f"postgres {c.host}:{c.port}/{c.database} (target {self.project.target})"

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """One read-only snapshot of the marts, open inside the block only: a dbt run meanwhile changes nothing."""
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read, read only")
            by_bytes = 'customer_id collate "C"'
            yield Reader(
                self.project,
                str(self),
                lambda sql: self._query(cursor, sql),
                lambda sql: self._stream(cursor, sql),
                by_customer=by_bytes,
            )

    def load(self, run: Path) -> dict[str, int]:
        """Put the files of the folder `run` into the trainer's tables in one transaction; rows by table.

        They replace the rows of the run's version; readers see all of them as they were or as they will be.
        """
        return self._replace(trained.of_run(run), f"the files of {run}")

    def prune(self, keep: int) -> dict[str, int]:
        """Delete the vectors of all but the `keep` versions embedded last, and of who is no customer any more, in one
        transaction; deleted rows by table."""
        pruned, rows = trained.prunings(self.project, keep), {}
        with self._connected() as connection, connection.cursor() as cursor:
            try:
                names = ", ".join(map(self.project.source, pruned))
                cursor.execute(f"lock table {names} in share row exclusive mode")
                for name, sql in pruned.items():
                    cursor.execute(f"with deleted as ({sql} returning 1) select count(*) from deleted")
                    (rows[name],) = cursor.fetchone()
                connection.commit()
            except _errors() as error:
                connection.rollback()
                raise self._data_error(error, "nothing was pruned") from None
        return rows

    def write_scores(self, tables: dict[str, pa.Table]) -> dict[str, int]:
        """Replace the tables of scores in one transaction; rows by table."""
        return self._replace(trained.of_scores(tables), "the scores")

    def write_evaluations(self, evaluations: pa.Table, model_version: str) -> int:
        """Put the rows into model_evaluations, in the place of those of that model; how many."""
        rows = self._replace(trained.of_evaluations(evaluations, model_version), "the evaluations")
        return rows["model_evaluations"]

    def _replace(self, tables: dict[str, NewRows], what: str) -> dict[str, int]:
        with self._connected() as connection, connection.cursor() as cursor:
            try:
                # Two loads at once would each leave their rows; readers are not held up by this lock.
                names = ", ".join(self.project.source(name) for name in tables)
                cursor.execute(f"lock table {names} in share row exclusive mode")
                for name, new in tables.items():
                    only = ""
                    if new.versions is not None:
                        only = f" where model_version in ({', '.join(_literal(v) for v in new.versions)})"
                    cursor.execute(f"delete from {self.project.source(name)}{only}")
                    source = self.project.source_node(name)
                    cursor.adbc_ingest(source.identifier, new.batches, mode="append", db_schema_name=source.schema)
                connection.commit()
            except _errors() as error:
                connection.rollback()
                raise self._data_error(error, f"{what} cannot be loaded, and nothing was") from None
        return {name: new.rows for name, new in tables.items()}

    def _query(self, cursor: Any, sql: str) -> pa.Table:
        try:
            cursor.execute(sql)
            return without_zone(cursor.fetch_arrow_table())
        except _errors() as error:
            raise self._data_error(error, "a mart cannot be read") from None

    def _stream(self, cursor: Any, sql: str) -> Iterator[pa.RecordBatch]:
        try:
            cursor.execute(sql)
            yield from map(without_zone, cursor.fetch_record_batch())
        except (*_errors(), pa.ArrowException, OSError) as error:  # Arrow's: in the middle of the rows
            raise self._data_error(error, "a mart cannot be read") from None

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection as dbt would open it, in UTC; no autocommit, and what was not committed is undone."""
        from adbc_driver_postgresql import dbapi

        c = self.project.credentials
        # The same keys as dbt-postgres hands on. https://www.postgresql.org/docs/current/libpq-connect.html
        keys = {
            "host": c.host,
            "port": c.port,
            "user": c.user,
            "password": c.password,
            "dbname": c.database,
            "connect_timeout": c.connect_timeout,
            "sslmode": c.sslmode,
            "sslcert": c.sslcert,
            "sslkey": c.sslkey,
            "sslrootcert": c.sslrootcert,
            "keepalives_idle": c.keepalives_idle or None,
            "application_name": "caspr_train",
        }
        address = " ".join(
            f"{key}={_connection_value(value)}" for key, value in keys.items() if value not in (None, "")
        )
        try:
            connection = dbapi.connect(address)
        except _errors() as error:
            raise DataError(
                f"{self}: no connection: {_reason(error)}. Is it running, and is the profile right?"
            ) from None
        try:
            try:
                with connection.cursor() as cursor:
                    if c.role:
                        cursor.execute(f'set role "{c.role.replace(chr(34), chr(34) * 2)}"')
                    cursor.execute("set timezone to 'UTC'")
                    # 0 would be for ever
                    cursor.execute(f"set lock_timeout to {max(1, int(self.wait_seconds * 1000))}")
                connection.commit()
            except _errors() as error:
                raise self._data_error(error, "no session") from None
            yield connection
        finally:
            connection.close()

    def _data_error(self, error: Exception, what: str) -> DataError:
        code = getattr(error, "sqlstate", None)
        if code in WAITED_TOO_LONG:
            return DataError(
                f"{self}: a table is still held by another process after {self.wait_seconds:.0f} s; end that process "
                "and try again"
            )
        mend = ""
        if code in UNDEFINED:
            mend = "; run `dbt build` first (the trainer's tables are made at the start of every dbt run)"
        elif code in UNDEFINED_COLUMN:
            mend = "; the marts were built from other settings, run `dbt build` again"
        return DataError(f"{self}: {what}: {_reason(error)}{mend}")


def _errors() -> tuple[type[Exception], ...]:
    from adbc_driver_postgresql import dbapi

    return (dbapi.Error,)


def _reason(error: Exception) -> str:
    """What the server said, without the driver's words around it."""
    text = first_line(error)
    for mark in ("ERROR:", "FATAL:", "[libpq]"):
        if mark in text:
            text = text.split(mark, 1)[1]
    return text.strip().rstrip(".")


def _connection_value(value: object) -> str:
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

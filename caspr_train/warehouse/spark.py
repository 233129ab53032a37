"""Spark: a session inside this process, the one that dbt's `method: session` would open.

Tables of Parquet files have no transactions. A load writes all new tables beside the old ones first and then swaps them
by renaming, table by table: no reader sees half a table, but between two renames one sees new and old tables together,
or, for the moment of a rename, no table. What breaks off between two renames, the next load mends.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from caspr_train.errors import DataError, UsageError
from caspr_train.project import DbtProject
from caspr_train.warehouse import trained
from caspr_train.warehouse.reader import Reader, without_zone
from caspr_train.warehouse.trained import NewRows, first_line


@dataclass
class SparkWarehouse:
    """Reads the marts of the project's target and loads the trainer's tables into it."""

    project: DbtProject
    wait_seconds: float = 60.0

    def __str__(self) -> str:
        return f"spark session, schema {self.project.credentials.schema} (target {self.project.target})"

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """A session, open inside the block only."""
        with self._session() as session:
            yield Reader(
                self.project,
                str(self),
                lambda sql: self._query(session, sql),
                lambda sql: self._stream(session, sql),
                quote="`",
            )

    def load(self, run: Path) -> dict[str, int]:
        """Put the files of the folder `run` into the trainer's tables, in the place of the rows of the run's version;
        rows by table. See above for what is atomic."""
        return self._replace(trained.of_run(run), f"the files of {run}")

    def prune(self, keep: int) -> dict[str, int]:
        """Delete the vectors of all but the `keep` versions embedded last, and of who is no customer any more; deleted
        rows by table. See above for what is atomic."""
        customers = self._table("customer_embeddings")
        with self._session() as session:
            try:
                self._mend(session, ["customer_embeddings", "control_embeddings", "item_embeddings"])
                versions = session.sql(trained.newest_versions(customers, keep)).collect()
                known = session.sql(f"select distinct customer_id from {self.project.relation('customer_cutoffs')}")
                rows = {}
                for name in ("customer_embeddings", "control_embeddings", "item_embeddings"):
                    old = session.table(self._table(name))
                    kept = old.where(old["model_version"].isin([row[0] for row in versions]))
                    if name != "item_embeddings":
                        kept = kept.join(known, "customer_id", "left_semi").select(old.columns)
                    beside = self._table(name, "__new")
                    _clear(session, beside)
                    kept.write.format("parquet").saveAsTable(beside)
                    rows[name] = old.count() - session.table(beside).count()
            except _errors() as error:
                raise self._data_error(error, "nothing was pruned") from None
            try:
                self._swap(session, list(rows))
            except _errors() as error:
                raise self._data_error(error, "the tables are pruned in part, prune again") from None
        return rows

    def write_scores(self, tables: dict[str, pa.Table]) -> dict[str, int]:
        """Replace the tables of scores; rows by table. See above for what is atomic."""
        return self._replace(trained.of_scores(tables), "the scores")

    def write_evaluations(self, evaluations: pa.Table, model_version: str) -> int:
        """Put the rows into model_evaluations, in the place of those of that model; how many."""
        rows = self._replace(trained.of_evaluations(evaluations, model_version), "the evaluations")
        return rows["model_evaluations"]

    def _replace(self, tables: dict[str, NewRows], what: str) -> dict[str, int]:
        with self._session() as session:
            try:
                self._mend(session, list(tables))
                for name, new in tables.items():
                    self._write_beside(session, name, new)
            except _errors() as error:
                raise self._data_error(error, f"{what} cannot be loaded, and nothing was") from None
            try:
                self._swap(session, list(tables))
            except _errors() as error:
                raise self._data_error(error, f"{what} are loaded in part, load them again") from None
        return {name: new.rows for name, new in tables.items()}

    def _mend(self, session: Any, names: list[str]) -> None:
        """Finish or undo swaps that broke off. Where both others are there, the old table was renamed away and the new
        one not yet: a table of the name is one that dbt has made since, empty."""
        for name in names:
            table, beside, old = (self._table(name, suffix) for suffix in ("", "__new", "__old"))
            if session.catalog.tableExists(old.replace("`", "")):
                if session.catalog.tableExists(beside.replace("`", "")):
                    session.sql(f"drop table if exists {table}")
                    session.sql(f"alter table {old} rename to {table}")
                else:
                    session.sql(f"drop table {old}")

    def _swap(self, session: Any, names: list[str]) -> None:
        """The tables beside take the places of the tables."""
        for name in names:
            table, beside, old = (self._table(name, suffix) for suffix in ("", "__new", "__old"))
            session.sql(f"drop table if exists {old}")
            session.sql(f"alter table {table} rename to {old}")
            session.sql(f"alter table {beside} rename to {table}")
            session.sql(f"drop table {old}")

    def _write_beside(self, session: Any, name: str, new: NewRows) -> None:
        """The rows that the table shall have, in the old table's columns and types, as a table beside it."""
        old, beside = session.table(self._table(name)), self._table(name, "__new")
        # Arrow's timestamps without a zone would become timestamp_ntz.
        arrow = new.batches.read_all()
        for place, column in enumerate(arrow.schema):
            if pa.types.is_timestamp(column.type):
                arrow = arrow.set_column(place, column.name, arrow[place].cast(pa.timestamp("us", "UTC")))
        fresh = session.createDataFrame(arrow)
        fresh = fresh.select([fresh[f"`{field.name}`"].cast(field.dataType).alias(field.name) for field in old.schema])
        if new.versions is not None:
            fresh = fresh.union(old.where(~old["model_version"].isin(new.versions)))
        _clear(session, beside)
        fresh.write.format("parquet").saveAsTable(beside)

    def _table(self, name: str, suffix: str = "") -> str:
        source = self.project.source_node(name)
        return f"`{source.schema}`.`{source.identifier}{suffix}`"

    def _query(self, session: Any, sql: str) -> pa.Table:
        try:
            return without_zone(session.sql(sql).toArrow())
        except _errors() as error:
            raise self._data_error(error, "a mart cannot be read") from None

    def _stream(self, session: Any, sql: str) -> Iterator[pa.RecordBatch]:
        """Arrow reaches the driver as one table: a mart's rows of one cutoff have to fit its memory."""
        yield from self._query(session, sql).to_batches()

    @contextmanager
    def _session(self) -> Iterator[Any]:
        credentials = self.project.credentials
        if str(credentials.method) != "session":
            raise UsageError(
                f"target {self.project.target} is of method {credentials.method}; the trainer reaches Spark by method "
                "session. Choose such a target with --target"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # pyspark 4 says of pandas 3 what does not concern Arrow
            from pyspark.sql import SparkSession

            builder = SparkSession.builder.appName("caspr_train").enableHiveSupport()
            for key, value in (credentials.server_side_parameters or {}).items():
                builder = builder.config(key, value)
            try:
                session = builder.getOrCreate()
                session.sql(
                    "show databases"
                ).collect()  # the first to ask the metastore, which another process may hold
            except Exception as error:  # of Java, of the launcher, or of the operating system
                raise self._data_error(error, "no session") from None
            zone = session.conf.get("spark.sql.session.timeZone")
            try:
                if zone not in ("UTC", "Etc/UTC", "Z", "+00:00", "GMT"):
                    raise DataError(
                        f"{self}: the session's time zone is {zone}; expected UTC: set spark.sql.session.timeZone: UTC "
                        "under server_side_parameters in profiles.yml"
                    )
                yield session
            finally:
                session.stop()

    def _data_error(self, error: Exception, what: str) -> DataError:
        text = str(error)
        if "Another instance of Derby" in text or "ERROR XSDB6" in text:
            return DataError(
                f"{self}: another process holds the metastore, and Derby serves one at a time; end that process and "
                "try again"
            )
        mend = ""
        if "TABLE_OR_VIEW_NOT_FOUND" in text or "SCHEMA_NOT_FOUND" in text:
            mend = "; run `dbt build` first (the trainer's tables are made at the start of every dbt run)"
        elif "UNRESOLVED_COLUMN" in text:
            mend = "; the marts were built from other settings, run `dbt build` again"
        return DataError(f"{self}: {what}: {first_line(error)}{mend}")


def _clear(session: Any, table: str) -> None:
    """Make place for a managed table of this name: a process that was killed while it wrote one leaves files that the
    metastore knows nothing of, and Spark makes no table over them."""
    session.sql(f"drop table if exists {table}")
    state = session._jsparkSession.sessionState()
    place = state.catalog().defaultTablePath(state.sqlParser().parseTableIdentifier(table))
    path = session._jvm.org.apache.hadoop.fs.Path(place)
    path.getFileSystem(state.newHadoopConf()).delete(path, True)


def _errors() -> tuple[type[Exception], ...]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return (PySparkException, Py4JError)

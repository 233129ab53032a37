"""What is read of the marts, the same on every warehouse: only how a query is run differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from caspr_train.encoding import SECONDS_BEFORE_CUTOFF, SECONDS_SINCE_PREVIOUS
from caspr_train.errors import DataError
from caspr_train.project import DbtProject
from caspr_train.schema import PROFILE_BEGAN_AT, Schema
from caspr_train.warehouse.trained import newest_versions

Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)


@dataclass
class Reader:
    """Queries on an open connection; every result is an Arrow table with times as timestamp[us] in UTC, without a zone.

    `run` runs SQL and raises DataError in one line, `run_in_batches` does the same a batch of rows at a time. `quote`
    is the quotation mark of the warehouse's names, and `by_customer` orders by the bytes of customer_id, so that the
    same data are the same batches everywhere.
    """

    project: DbtProject
    where: str
    run: Callable[[str], pa.Table]
    run_in_batches: Callable[[str], Iterator[pa.RecordBatch]]
    quote: str = '"'
    by_customer: str = "customer_id"

    def schema(self) -> Schema:
        return Schema.from_rows(self.query("select * from {activity_attributes}").to_pylist())

    def cutoffs(self) -> list[dict]:
        """Rows of `cutoffs`, earliest first. DataError: none of role train."""
        rows = self.query("select * from {cutoffs} order by cutoff_at").to_pylist()
        if not any(row["role"] == "train" for row in rows):
            found = ", ".join(f"{row['cutoff_at']} ({row['role']})" for row in rows) or "no rows"
            raise DataError(
                f"{self.where}: the mart cutoffs holds {found}; expected at least one of role train. "
                "Is there an activity at all? Check the streams, then run `dbt build`"
            )
        return rows

    def peopled_cutoffs(self) -> set[datetime]:
        """The cutoffs at which there are customers."""
        return set(self.query("select distinct cutoff_at from {customer_cutoffs}")["cutoff_at"].to_pylist())

    def activities(self, schema: Schema, cutoff: datetime) -> Iterator[pa.RecordBatch]:
        """Rows of activity_sequences at the cutoff, ordered by customer and position; read as they are asked for."""
        columns = ["customer_id", "cutoff_at", "position", SECONDS_SINCE_PREVIOUS, SECONDS_BEFORE_CUTOFF]
        columns += [self._quoted(a.column) for a in schema.attributes if a.scope == "sequence"]
        return self.stream(
            f"select {', '.join(columns)} from {{activity_sequences}} where cutoff_at = {_instant(cutoff)} "
            f"order by {self.by_customer}, position"
        )

    def profiles(self, schema: Schema, cutoff: datetime) -> Iterator[pa.RecordBatch]:
        """Rows of customer_profiles at the cutoff, ordered by customer; read as they are asked for."""
        columns = ["customer_id", "cutoff_at", PROFILE_BEGAN_AT]
        columns += [self._quoted(a.column) for a in schema.attributes if a.scope == "profile"]
        return self.stream(
            f"select {', '.join(columns)} from {{customer_profiles}} where cutoff_at = {_instant(cutoff)} "
            f"order by {self.by_customer}"
        )

    def embeddings(self, model_version: str, cutoff: datetime) -> Iterator[pa.RecordBatch]:
        """customer_id, input_hash and embedding as that version loaded them for the cutoff, ordered by customer."""
        version = model_version.replace("'", "''")
        return self.stream(
            f"select customer_id, input_hash, embedding from {self.project.source('customer_embeddings')} "
            f"where model_version = '{version}' and cutoff_at = {_instant(cutoff)} and input_hash is not null "
            f"order by {self.by_customer}"
        )

    def control_embeddings(self, model_version: str, cutoff: datetime, control: str) -> Iterator[pa.RecordBatch]:
        """The same of a control, with the input_hash of the customer's vector: both were loaded together."""
        version = model_version.replace("'", "''")
        return self.stream(
            "select customer_id, input_hash, embedding from (select controls.customer_id, input_hash, "
            f"controls.embedding from {self.project.source('control_embeddings')} as controls "
            f"join {self.project.source('customer_embeddings')} as loaded on controls.customer_id = loaded.customer_id "
            "and controls.model_version = loaded.model_version and controls.cutoff_at = loaded.cutoff_at "
            f"where controls.model_version = '{version}' and controls.cutoff_at = {_instant(cutoff)} "
            f"and controls.control = '{control}' and input_hash is not null) as known order by {self.by_customer}"
        )

    def taking_part(self, cutoffs: list[datetime], customers: int) -> str:
        """A condition (SQL) on customer_id that whoever takes part in fitting and measuring at these cutoffs satisfies;
        empty if everybody does. `customers`: how many the largest cutoff has.

        A sample of all, and of those who have a label of a task a sample too, where they are fewer (tasks.protocol).
        """
        from caspr_train.tasks import sample  # brings scikit-learn, which `load` and `prune` do without

        if customers <= sample.MAXIMUM_CUSTOMERS:
            return ""
        at = f"cutoff_at in ({', '.join(map(_instant, cutoffs))})"
        # The fewest at any of the cutoffs: the largest share.
        fewest = "select task, min(customers) as customers from {label_counts}"
        parts = [sample.sampled_in_sql(customers)]
        for row in self.query(f"{fewest} where {at} group by task order by task").to_pylist():
            if row["customers"] < customers:
                sampled = sample.sampled_in_sql(row["customers"])
                here = " and ".join(filter(None, (at, sampled)))
                parts.append(f"customer_id in (select customer_id from {{{row['task']}_labels}} where {here})")
        return f"({' or '.join(parts)})"

    def customers_at(self, cutoff: datetime, condition: str) -> pa.Array:
        """customer_id of whom the condition (SQL) holds at the cutoff."""
        here = f"cutoff_at = {_instant(cutoff)} and {condition}"
        customers = self.query(f"select customer_id from {{customer_cutoffs}} where {here}")["customer_id"]
        return pa.array(customers.to_pylist(), pa.string())

    def watermark(self) -> datetime | None:
        """The time of the latest activity that any sequence holds."""
        return self.query("select max(occurred_at) as latest from {activity_sequences}")["latest"][0].as_py()

    def performance(self) -> pa.Table:
        return self.mart("model_performance")

    def settings_hashes(self) -> dict[str, str]:
        """{task: settings_hash}: what each task asked when the marts were built."""
        settings = self.query("select task, settings_hash from {task_settings}")
        return dict(zip(settings["task"].to_pylist(), settings["settings_hash"].to_pylist(), strict=True))

    def evaluations(self) -> pa.Table:
        """What `evaluate` and `finetune` measured, with any model and whatever the tasks asked then."""
        return self.query(f"select * from {self.project.source('model_evaluations')}")

    def shown_version(self) -> str | None:
        """The model version whose vectors the package's views show; None before the first load."""
        versions = self.query(newest_versions(self.project.source("customer_embeddings"), 1))["model_version"]
        return versions[0].as_py() if len(versions) else None

    def copy(self, model: str, condition: str, path: Path) -> None:
        """What `mart` gives, as a Parquet file, a batch after the other."""
        writer = None
        for batch in self.stream(_select(model, condition)):
            writer = writer or pq.ParquetWriter(path, batch.schema)
            writer.write_batch(batch)
        if writer is None:
            pq.write_table(self.mart(model, "1 = 0"), path)
        else:
            writer.close()

    def mart(self, model: str, condition: str = "") -> pa.Table:
        """The rows of one of the package's models where the condition (SQL) holds, or all of them; in no order."""
        return self.query(_select(model, condition))

    def relation(self, model: str) -> str:
        return self.project.relation(model)

    def query(self, sql: str) -> pa.Table:
        """`sql` with {model} in the place of each mart's name."""
        return self.run(sql.format_map(_Relations(self.project)))

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The same a batch at a time, of any size but bounded. One stream at a time: end it before the next query."""
        return self.run_in_batches(sql.format_map(_Relations(self.project)))

    def _quoted(self, column: str) -> str:
        return self.quote + column.replace(self.quote, self.quote * 2) + self.quote


class _Relations(dict):
    def __init__(self, project: DbtProject) -> None:
        super().__init__()
        self.project = project

    def __missing__(self, model: str) -> str:
        return self.project.relation(model)


def _select(model: str, condition: str) -> str:
    return f"select * from {{{model}}}" + (f" where {condition}" if condition else "")


def _instant(at: datetime) -> str:
    """A timestamp constant that every warehouse reads."""
    return f"cast('{at.isoformat(' ', 'microseconds')}' as timestamp)"


def without_zone(rows: Rows) -> Rows:
    """The table or batch with every timestamp as timestamp[us] of its UTC time."""
    for place, column in enumerate(rows.schema):
        if pa.types.is_timestamp(column.type) and column.type != pa.timestamp("us"):
            rows = rows.set_column(place, column.name, rows.column(place).cast(pa.timestamp("us")))
    return rows

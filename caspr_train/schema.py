"""Which attributes there are: read from the mart `activity_attributes`, declared nowhere else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from caspr_train.errors import DataError

SCOPES = ("sequence", "profile")
KINDS = ("categorical", "numerical")
# The column of customer_profiles that is no attribute: since when the row holds, for windows that end earlier.
PROFILE_BEGAN_AT = "profile_began_at"


@dataclass(frozen=True)
class Attribute:
    """A column of an activity (scope `sequence`) or of a customer (scope `profile`)."""

    name: str
    scope: str
    kind: str
    role: str | None
    column: str


@dataclass(frozen=True)
class Schema:
    """The attributes in the order of the mart; every tensor's last axis follows this order."""

    attributes: tuple[Attribute, ...]

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]]) -> Schema:
        """Rows of `activity_attributes` (columns attribute_name, scope, kind, role, column_name), in any order."""
        if not rows:
            raise DataError("activity_attributes is empty; expected one row an attribute: run `dbt build`")
        rows = sorted(rows, key=lambda row: (SCOPES.index(row["scope"]), row["attribute_rank"]))
        return cls(
            tuple(
                Attribute(row["attribute_name"], row["scope"], row["kind"], row["role"], row["column_name"])
                for row in rows
            )
        )

    def select(self, scope: str, kind: str) -> list[Attribute]:
        return [a for a in self.attributes if a.scope == scope and a.kind == kind]

    def with_role(self, role: str) -> Attribute | None:
        return next((a for a in self.attributes if a.role == role), None)

    def expect_same(self, marts: Schema, where: str) -> None:
        """Raise DataError naming the attributes in which this schema, of the bundle `where`, and the marts differ."""
        if self == marts:
            return
        ours, theirs = ({f"{a.scope} {a.name}": a for a in s.attributes} for s in (self, marts))
        parts = [f"{n} only in the bundle" for n in ours if n not in theirs]
        parts += [f"{n} only in the marts" for n in theirs if n not in ours]
        parts += [
            f"{n} is {_words(ours[n])} in the bundle and {_words(theirs[n])} in the marts"
            for n in ours
            if n in theirs and ours[n] != theirs[n]
        ]
        raise DataError(
            f"the bundle {where} was made from another schema: {'; '.join(parts) or 'the order of the attributes'}. "
            "Train again (`python -m caspr_train`), or point to the bundle of this project"
        )

    def as_list(self) -> list[dict[str, Any]]:
        return [asdict(a) for a in self.attributes]

    @classmethod
    def from_list(cls, rows: list[dict[str, Any]]) -> Schema:
        return cls(tuple(Attribute(**row) for row in rows))


def _words(attribute: Attribute) -> str:
    role = f" with role {attribute.role}" if attribute.role else ""
    return f"{attribute.kind}{role} from column {attribute.column}"

"""The bundle: a folder with everything needed to embed again. safetensors and JSON: loading it executes nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from caspr_train.config import Config
from caspr_train.encoding import Encoding
from caspr_train.errors import DataError, UsageError
from caspr_train.files import whole_folder
from caspr_train.model import Caspr, Shape
from caspr_train.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

    from caspr_train.frames import Frame

FORMAT = 4
WEIGHTS, DESCRIPTION = "weights.safetensors", "bundle.json"


@dataclass
class Bundle:
    """A trained model with the encoding it was trained on.

    `metrics` and `lineage` are plain JSON; `model_version` is the hash that names the run (see runs.model_version).
    """

    model_version: str
    config: Config
    encoding: Encoding
    weights: dict[str, torch.Tensor]
    metrics: dict[str, Any]
    lineage: dict[str, Any]

    @property
    def schema(self) -> Schema:
        return self.encoding.schema

    def model(self, device: torch.device | str = "cpu") -> Caspr:
        model = Caspr(self.config, shape_of(self.encoding))
        model.load_state_dict(self.weights)
        return model.to(device).eval()

    def embed(
        self,
        frame: Frame,
        cutoff_at: datetime | date | str | None = None,
        profiles: Frame | None = None,
        device: torch.device | str = "cpu",
    ) -> pd.DataFrame:
        """The customer vectors of the activities in `frame`: one row a customer, embedding_0, embedding_1 ... float32.

        `frame` (pandas or Arrow) holds activities in any order, one a row: customer_id, occurred_at, activity_type and
        the attributes of the schema's sequences; stream_rank and activity_id order what happened at one instant, as in
        the marts. Rows at or after `cutoff_at` (UTC; default: the start of the day after the frame's last activity,
        never the wall clock) are not looked at; customers without one before it have no row in the result, which is
        indexed and ordered by customer_id.

        The gap to the activity before (seconds_since_previous) and attributes that are relative to others
        (`amount_relative`) are taken from the frame if it has these columns, as activity_log does, and else derived:
        then the frame must hold all of a customer's activities, not only the latest. With the setting known_at, leave
        these columns out, and the rows that were loaded at or after the cutoff.

        `profiles` holds customer_id and the attributes of the schema's profile, one row a customer; who has none, and
        everybody if it is left out, is embedded with a missing profile. Values that training has not seen are embedded
        as unknown. Raises DataError where a column is missing or of another kind.

        >>> from caspr_train import Bundle
        >>> bundle = Bundle.load("runs/0123456789ab/bundle")  # doctest: +SKIP
        >>> vectors = bundle.embed(activities, "2025-01-01")  # doctest: +SKIP
        """
        import pandas as pd

        from caspr_train.embedding import embed
        from caspr_train.frames import activities_of, instant_of, latest, profiles_of
        from caspr_train.packing import pack

        activities = activities_of(frame, self.schema)
        if not len(activities):
            raise DataError("the frame has no rows; expected activities, one a row")
        cutoff = instant_of(cutoff_at, activities)
        rows = latest(activities, cutoff, self.config.sequence_length)
        if not len(rows):
            raise DataError(
                f"none of the frame's {len(activities):,} activities lies before cutoff_at {cutoff}; the first is of "
                f"{min(activities['occurred_at'].to_pylist())}"
            )
        customers = rows["customer_id"].unique()
        sequences, _ = pack(rows, profiles_of(profiles, customers, cutoff, self.schema), self.encoding)
        vectors = embed(self, sequences, device)
        names = [f"embedding_{i}" for i in range(vectors.shape[1])]
        return pd.DataFrame(vectors, pd.Index(customers.to_pandas(), name="customer_id"), names)

    def save(self, folder: Path) -> None:
        """Write the bundle beside `folder` and rename it: the folder is the whole bundle or not there."""
        with whole_folder(folder) as draft:
            safetensors.torch.save_file({k: v.contiguous().cpu() for k, v in self.weights.items()}, draft / WEIGHTS)
            description = {
                "format": FORMAT,
                "model_version": self.model_version,
                "config": self.config.as_dict(),
                "schema": self.schema.as_list(),
                "encoding": self.encoding.as_dict(),
                "metrics": self.metrics,
                "lineage": self.lineage,
                "weights_sha256": _sha256(draft / WEIGHTS),
            }
            description["sha256"] = _sha256_of(json.loads(json.dumps(description)))  # as load will see it
            text = json.dumps(description, indent=1, ensure_ascii=False)
            (draft / DESCRIPTION).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> Bundle:
        """Read the bundle in `folder`. DataError: not a bundle, of another format, or changed since it was written.

        The checksums find what was cut short, mixed up or edited. They are no signature: whoever writes a bundle anew
        can make them fit, and can still do no more with it than give wrong vectors.
        """
        folder = Path(folder)
        if not (folder / DESCRIPTION).is_file() or not (folder / WEIGHTS).is_file():
            raise DataError(
                f"{folder} is no bundle: expected a folder with {DESCRIPTION} and {WEIGHTS}, as "
                "`python -m caspr_train` writes it to runs/<version>/bundle"
            )
        try:
            saved = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            _expect_format(saved["format"], folder)
            if _sha256_of({key: value for key, value in saved.items() if key != "sha256"}) != saved["sha256"]:
                raise DataError(
                    f"{folder / DESCRIPTION} does not match its own checksum: it was changed after it was written; "
                    "take the bundle from its backup or train again"
                )
            if _sha256(folder / WEIGHTS) != saved["weights_sha256"]:
                raise DataError(
                    f"{folder / WEIGHTS} does not match the checksum in {DESCRIPTION}: the file was changed or "
                    "cut short; take the bundle from its backup or train again"
                )
            bundle = cls(
                model_version=saved["model_version"],
                config=Config(**saved["config"]),
                encoding=Encoding.from_dict(Schema.from_list(saved["schema"]), saved["encoding"]),
                weights=safetensors.torch.load_file(folder / WEIGHTS),
                metrics=saved["metrics"],
                lineage=saved["lineage"],
            )
            bundle.model()  # every weight is there and has the shape that the encoding asks for
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, UsageError, SafetensorError) as error:
            raise DataError(
                f"{folder / DESCRIPTION} is damaged or of another version ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}); take the bundle from its backup or train again"
            ) from None
        return bundle


def shape_of(encoding: Encoding) -> Shape:
    """The sizes that the fitted encoding gives the model."""
    return Shape(
        sequence_cardinalities=encoding.cardinalities("sequence"),
        sequence_numbers=len(encoding.sequence_numbers),
        profile_cardinalities=encoding.cardinalities("profile"),
        profile_numbers=len(encoding.schema.select("profile", "numerical")),
    )


def _expect_format(found: Any, folder: Path) -> None:
    if found == FORMAT:
        return
    if isinstance(found, int) and found > FORMAT:
        mend = "it was written by a newer version: `pip install --upgrade caspr-train`"
    else:
        mend = "delete it and train again"
    raise DataError(f"{folder}: bundle format {found}, this version reads {FORMAT}; {mend}")


def _sha256_of(description: dict[str, Any]) -> str:
    """Of the content, not of its layout: whoever prints the file prettily has not changed the bundle."""
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()

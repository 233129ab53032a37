"""The bundle: a folder with everything needed to embed again. safetensors and JSON: loading it executes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from caspr_train.config import Config
from caspr_train.encoding import Encoding
from caspr_train.errors import DataError, UsageError
from caspr_train.model import Caspr, Shape
from caspr_train.schema import Schema

FORMAT = 1
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

    def save(self, folder: Path) -> None:
        """Write the bundle beside `folder` and rename it: the folder is the whole bundle or not there."""
        draft = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
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
        (draft / DESCRIPTION).write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(draft, folder)

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read the bundle in `folder`. DataError: not a bundle, of a newer format, or changed since it was written."""
        folder = Path(folder)
        if not (folder / DESCRIPTION).is_file() or not (folder / WEIGHTS).is_file():
            raise DataError(
                f"{folder} is no bundle: expected a folder with {DESCRIPTION} and {WEIGHTS}, as "
                "`python -m caspr_train` writes it to runs/<version>/bundle"
            )
        try:
            saved = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            if saved["format"] != FORMAT:
                raise DataError(f"{folder}: bundle format {saved['format']}, this version reads {FORMAT}; train again")
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
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, UsageError) as error:
            raise DataError(
                f"{folder / DESCRIPTION} is damaged or of another version ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}); train again"
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


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()

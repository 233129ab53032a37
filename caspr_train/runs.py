"""A run: marts in, bundle and embeddings in a folder of its own, then into the database.

The folder is runs/<model version>. The version is a hash of the training data, the config and the code that learns,
so the same question has one answer and is not worked out twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import safetensors.torch
import torch

import caspr_train
from caspr_train import checkpoint
from caspr_train.bundle import Bundle, shape_of
from caspr_train.config import Config
from caspr_train.controls import CONTROLS, write_control_embeddings
from caspr_train.distributed import Processes, launch
from caspr_train.embedding import (
    EmbeddedRows,
    Known,
    write_customer_embeddings,
    write_item_embeddings,
    write_known,
)
from caspr_train.encoding import Encoding
from caspr_train.errors import DataError
from caspr_train.files import whole
from caspr_train.packing import count_customers, keys_of, pack_folder
from caspr_train.project import DbtProject
from caspr_train.sequences import PackedSequences, load_split
from caspr_train.trainer import Job, train
from caspr_train.warehouse import Warehouse

# The modules that decide what is learnt; their text is part of a model's version.
LEARNING = [
    "config.py",
    "encoding.py",
    "learner.py",
    "model/attention.py",
    "model/autoencoder.py",
    "model/blocks.py",
    "model/dropout.py",
    "model/encoders.py",
    "model/events.py",
    "model/tied.py",
    "objective.py",
    "packing.py",
    "sequences.py",
    "trainer.py",
]

# The files that embedding leaves and `load` takes. A run with the last one is finished.
EMBEDDED = ("customer_embeddings", "item_embeddings", "control_embeddings", "training_runs")


@dataclass(frozen=True)
class PackedCutoff:
    """Sequences packed into a folder; mapped when they are asked for."""

    cutoff_at: datetime
    role: str
    folder: Path

    @property
    def sequences(self) -> PackedSequences:
        return PackedSequences.load(self.folder)

    @property
    def keys(self) -> pa.Table:
        return keys_of(self.folder)

    def customers(self) -> list[int]:
        """How many there are at each of the cutoffs packed here."""
        return pc.value_counts(self.keys["cutoff_at"]).field("counts").to_pylist()


@dataclass
class Marts:
    """What a run needs of the marts, packed into folders in one visit to the database."""

    encoding: Encoding
    cutoffs: list[PackedCutoff]
    horizon_seconds: int
    watermark: datetime | None
    known: dict[str, dict[datetime, Path]] = field(default_factory=dict)  # files of loaded vectors, see read
    taking_part: dict[datetime, pa.Array] = field(default_factory=dict)  # customers measured; none if everybody is

    @classmethod
    def read(cls, warehouse: Warehouse, encode_by: Config | Bundle, folder: Path, with_known: bool = False) -> Marts:
        """Pack all cutoffs into `folder`, the train cutoffs together, with what is held out of the fit.

        Encoding and encoder learn from the first train cutoff alone: no vector then knows what comes after its cutoff.
        A bundle's encoding is taken as it is, if its schema is the same. Rows are streamed, once for the encoding and
        once to pack them: memory does not grow with the marts. `with_known` takes along the vectors that the bundle's
        version has in the database, of "customer" and of each of CONTROLS, by cutoff.
        """
        config = encode_by.config if isinstance(encode_by, Bundle) else encode_by
        with warehouse.reading() as reader:
            schema, rows = reader.schema(), reader.cutoffs()
            training = [row["cutoff_at"] for row in rows if row["role"] == "train"]
            # The first is the earliest that has customers: where nobody is, nothing is learnt and nobody embedded.
            peopled = reader.peopled_cutoffs()
            training = [at for at in training if at in peopled] or training
            rows = [row for row in rows if row["role"] != "train" or row["cutoff_at"] in training]

            def activities(cutoffs: list[datetime]) -> Iterator[pa.RecordBatch]:
                return chain.from_iterable(reader.activities(schema, at) for at in cutoffs)

            def profiles(cutoffs: list[datetime]) -> Iterator[pa.RecordBatch]:
                return chain.from_iterable(reader.profiles(schema, at) for at in cutoffs)

            if isinstance(encode_by, Bundle):
                encode_by.schema.expect_same(schema, encode_by.model_version)
                _expect_length(encode_by, warehouse.project.published("activity_sequences", "history_length"))
                learnt_until = datetime.fromisoformat(encode_by.lineage["train_cutoff_at"])
                remedy = "Train again (`python -m caspr_train`) with these cutoffs"
                _expect_no_future(f"the bundle {encode_by.model_version}", learnt_until, rows, remedy)
                encoding = encode_by.encoding
            else:
                remedy = "Expected no train cutoff after it: mend the setting cutoffs, then run `dbt build`"
                _expect_no_future(f"{warehouse}: the model", training[0], rows, remedy)
                encoding = Encoding(schema, config.number_transform, config.minimum_count)
                encoding.fit(activities(training[:1]), profiles(training[:1]))
            together = [("train", training)]
            together += [(row["role"], [row["cutoff_at"]]) for row in rows if row["role"] != "train"]
            packed = []
            for place, (role, cutoffs) in enumerate(together):
                share, learnt_at = (config.validation_share, cutoffs[0]) if role == "train" else (None, None)
                target = folder / f"{place}-{role}"
                try:
                    pack_folder(target, activities(cutoffs), profiles(cutoffs), encoding, share, learnt_at)
                except DataError as error:
                    at = ", ".join(map(str, cutoffs))
                    raise DataError(f"{warehouse}, {role} cutoff {at}: {error}") from None
                packed.append(PackedCutoff(cutoffs[0], role, target))
            known: dict[str, dict[datetime, Path]] = {}
            if with_known and isinstance(encode_by, Bundle):
                version = encode_by.model_version
                for place, row in enumerate(rows):
                    at = row["cutoff_at"]
                    loaded = {"customer": reader.embeddings(version, at)}
                    if row["role"] != "score":
                        loaded |= {control: reader.control_embeddings(version, at, control) for control in CONTROLS}
                    for name, batches in loaded.items():
                        path = known.setdefault(name, {})[at] = folder / f"known-{place}-{name}.arrow"
                        write_known(path, batches)
            measured = [row["cutoff_at"] for row in rows if row["role"] != "score"]
            largest = max((n for cutoff in packed if cutoff.role != "score" for n in cutoff.customers()), default=0)
            conditions = {at: reader.taking_part([at], largest) for at in measured}
            taking_part = {at: reader.customers_at(at, condition) for at, condition in conditions.items() if condition}
            horizon = rows[0]["horizon_ends_at"] - rows[0]["cutoff_at"]  # the same for all cutoffs
            return cls(encoding, packed, int(horizon.total_seconds()), reader.watermark(), known, taking_part)

    @property
    def train(self) -> PackedCutoff:
        """The sequences of all train cutoffs together; its cutoff_at is the first, where the encoder learns."""
        return self.cutoffs[0]

    def fitted(self) -> np.ndarray:
        """Which train sequences [n] bool the encoder is fitted on."""
        return load_split(self.train.folder)[0].numpy()

    def describe(self) -> str:
        packed = [c.sequences for c in self.cutoffs]
        activities, sequences = sum(len(p.age) for p in packed), sum(map(len, packed))
        lines = f"{sequences:,} sequences of {activities:,} activities at {len(self.cutoffs)} cutoffs"
        wrong = {k: n for k, n in self.encoding.not_finite_.items() if n}
        if wrong:
            lines += "; numbers that are not finite, treated as missing: " + ", ".join(
                f"{n:,} in {key}" for key, n in wrong.items()
            )
        return lines


def _expect_length(bundle: Bundle, history_length: int) -> None:
    """DataError: the marts keep fewer activities than a sequence of this bundle has."""
    length = bundle.config.sequence_length
    if history_length < length:
        raise DataError(
            f"the bundle {bundle.model_version} sees sequences of {length} activities, and activity_sequences keeps "
            f"{history_length}: its vectors would be of another kind. Set history_length: {length} and run `dbt "
            "build`, or train again (`python -m caspr_train`)"
        )


def identity(marts: Marts, config: Config) -> dict[str, Any]:
    """What decides which model comes out, by name: the data, the code that learns, and every key of the config."""
    data, code = hashlib.sha256(), hashlib.sha256()
    fitted = [marts.encoding.schema.as_list(), marts.encoding.as_dict(), marts.horizon_seconds]
    data.update(json.dumps(fitted, sort_keys=True).encode())
    for path in sorted(marts.train.folder.glob("*.npy")):
        data.update(path.name.encode())
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                data.update(piece)
    package = Path(caspr_train.__file__).parent
    for name in LEARNING:
        code.update((package / name).read_bytes())
    return {"data": data.hexdigest()[:12], "code": code.hexdigest()[:12], **config.as_dict()}


def model_version(identity: dict[str, Any]) -> str:
    """Twelve hex digits that name the model of this identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def train_bundle(
    marts: Marts,
    job: Job,
    processes: Processes,
    project: DbtProject,
    run: Path,
) -> Bundle:
    """Train on the train cutoffs and write `run`/bundle; `run` is this process's alone (files.alone_in).

    A training that is interrupted leaves `run`/training with its checkpoints, from which the next one goes on (see
    trainer.train), and no bundle. Its log ends in the run's folder.
    """
    lineage = {
        "caspr_version": caspr_train.__version__,
        "torch_version": torch.__version__,
        "started_at": _now().isoformat(),
        "device": str(processes),
        "processes": processes.count,
        "train_cutoff_at": marts.train.cutoff_at.isoformat(),
        "data_watermark_at": marts.watermark and marts.watermark.isoformat(),
        "dbt_invocation_id": project.dbt_invocation_id,
        "git_commit": project.git_commit(),
    }
    work = run / "training"
    if not job.resume:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    packed = work / "packed"
    packed.unlink(missing_ok=True)
    try:
        packed.symlink_to(marts.train.folder.resolve())
        launch(train, processes, work, work, job)
        metrics = json.loads((work / "metrics.json").read_text())
        weights = safetensors.torch.load_file(work / "weights.safetensors")
    finally:
        packed.unlink(missing_ok=True)
        if not checkpoint.found(work / "checkpoints") and not list(work.glob("not-finite-*")):
            shutil.rmtree(work, ignore_errors=True)
    fitted, lengths = marts.fitted(), np.diff(marts.train.sequences.offsets.numpy())
    metrics |= {
        "customers": count_customers(marts.train.keys, fitted),
        "sequences": int(fitted.sum()),
        "activities": int(lengths[fitted].sum()),
    }
    lineage["finished_at"] = _now().isoformat()
    bundle = Bundle(run.name, job.config, marts.encoding, weights, metrics, lineage)
    bundle.save(run / "bundle")
    for name in ("training.jsonl", "tensorboard"):
        if (work / name).exists():
            shutil.rmtree(run / name, ignore_errors=True)
            os.replace(work / name, run / name)
    shutil.rmtree(work)
    return bundle


def job_of(marts: Marts, config: Config, identity: dict[str, Any], resume: bool, checkpoint_minutes: float) -> Job:
    """What the processes are told of these marts and this config."""
    looks_ahead = config.next_event_weight or config.future_window_weight
    return Job(
        config,
        shape_of(marts.encoding),
        marts.encoding.days_scaler,
        marts.horizon_seconds if looks_ahead else 0,
        identity,
        resume,
        checkpoint_minutes,
    )


def expect_interrupted(run: Path, ours: dict[str, Any]) -> None:
    """DataError unless the run's folder holds a whole checkpoint of the training of this identity."""
    folder = run / "training" / "checkpoints"
    kept, damaged = checkpoint.read(folder)
    if kept is None:
        raise DataError(
            "; ".join([f"--resume {run}: no whole checkpoint in {folder}", *damaged])
            + "; expected the folder of an interrupted run"
        )
    checkpoint.expect_same(run, kept.identity, ours)


def write_embeddings(bundle: Bundle, marts: Marts, run: Path, device: torch.device | str) -> tuple[EmbeddedRows, int]:
    """Embed every customer at every cutoff and write the four files that `load` takes; rows of the first two.

    Vectors that are known and whose input is the same are copied (see Marts.read), and count as embedded now too.
    """
    now = _now()
    packed = ((cutoff.sequences, cutoff.keys) for cutoff in marts.cutoffs)
    known = {name: {at: Known.load(path) for at, path in paths.items()} for name, paths in marts.known.items()}
    # Nothing is measured at the score cutoff.
    measured = [(cutoff.sequences, cutoff.keys) for cutoff in marts.cutoffs if cutoff.role != "score"]
    drafts = run / ".embeddings"
    shutil.rmtree(drafts, ignore_errors=True)  # of a process that was killed
    drafts.mkdir(parents=True)
    paths = [drafts / f"{name}.parquet" for name in EMBEDDED]
    try:
        customers = write_customer_embeddings(paths[0], bundle, packed, now, device, known.get("customer"))
        items = write_item_embeddings(paths[1], bundle, now)
        write_control_embeddings(paths[2], bundle, measured, device, known, marts.taking_part)
        _write_training_run(bundle, paths[3])
        # All together, and last the one that says the run is finished: new vectors beside old controls would be
        # compared with each other, and the controls be taken for unchanged.
        (run / paths[3].name).unlink(missing_ok=True)
        for path in paths:
            os.replace(path, run / path.name)
    finally:
        shutil.rmtree(drafts, ignore_errors=True)
    return customers, items


def version_of(run: Path) -> str:
    """The model version of a finished run, whatever its folder is called."""
    return pq.read_table(run / "training_runs.parquet", columns=["model_version"])["model_version"][0].as_py()


def make_latest(run: Path) -> None:
    """Have `latest_run` give this run: `evaluate` writes several and loads the first."""
    (run / "training_runs.parquet").touch()


def hold_back(run: Path) -> None:
    """Have `latest_run` give any other run before this one, until this one is loaded."""
    os.utime(run / "training_runs.parquet", (0, 0))


def latest_run(runs: Path) -> Path:
    """The run folder that was written or loaded last. DataError: there is none."""
    files = sorted(runs.glob("*/training_runs.parquet"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise DataError(f"no embeddings in {runs}: run `python -m caspr_train` first, or name a run's folder")
    return files[-1].parent


def expect_complete(run: Path) -> None:
    """Raise DataError unless the folder holds the four files that `load` takes."""
    missing = [name for name in EMBEDDED if not (run / f"{name}.parquet").is_file()]
    if missing:
        raise DataError(
            f"{run} holds no {missing[0]}.parquet: expected the folder of a finished run, such as runs/0123456789ab"
        )


def _write_training_run(bundle: Bundle, path: Path) -> None:
    moment = pa.timestamp("us")
    metrics, lineage, config = bundle.metrics, bundle.lineage, bundle.config
    columns = {
        "model_version": (bundle.model_version, pa.string()),
        "preset": (config.preset, pa.string()),
        "seed": (config.seed, pa.int64()),
        "started_at": (_instant(lineage["started_at"]), moment),
        "finished_at": (_instant(lineage["finished_at"]), moment),
        "device": (lineage["device"], pa.string()),
        "processes": (lineage["processes"], pa.int64()),
        "train_cutoff_at": (_instant(lineage["train_cutoff_at"]), moment),
        "data_watermark_at": (_instant(lineage["data_watermark_at"]), moment),
        "customers": (metrics["customers"], pa.int64()),
        "sequences": (metrics["sequences"], pa.int64()),
        "activities": (metrics["activities"], pa.int64()),
        "parameters": (metrics["parameters"], pa.int64()),
        "epochs": (metrics["epochs"], pa.int64()),
        "train_loss": (metrics["train_loss"], pa.float64()),
        "validation_loss": (metrics["validation_loss"], pa.float64()),
        "sequences_per_second": (metrics["sequences_per_second"], pa.float64()),
        "config": (json.dumps(config.as_dict()), pa.string()),
        "metrics": (json.dumps(metrics), pa.string()),
        "caspr_version": (lineage["caspr_version"], pa.string()),
        "dbt_invocation_id": (lineage["dbt_invocation_id"], pa.string()),
        "git_commit": (lineage["git_commit"], pa.string()),
    }
    with whole(path) as draft:
        pq.write_table(pa.table({name: pa.array([value], kind) for name, (value, kind) in columns.items()}), draft)


def _expect_no_future(learner: str, learnt_until: datetime, cutoffs: list[dict], remedy: str) -> None:
    """Raise DataError if `learner` learns from activities after a cutoff at which it is to embed."""
    for row in cutoffs:
        if row["cutoff_at"] < learnt_until:
            raise DataError(
                f"{learner} learns from activities until {learnt_until}, after the {row['role']} cutoff "
                f"{row['cutoff_at']}: its embeddings there would know the future. {remedy}"
            )


def _now() -> datetime:
    """UTC without a zone, as every timestamp of the marts."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)

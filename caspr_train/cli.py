"""The commands. `python -m caspr_train` trains; `python -m caspr_train COMMAND --help` explains each."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from caspr_train import __version__
from caspr_train.errors import CasprError, DataError, UsageError
from caspr_train.failure import device_error
from caspr_train.world import World

if TYPE_CHECKING:  # torch takes seconds to import: each command imports what it needs
    from caspr_train.bundle import Bundle
    from caspr_train.config import Config
    from caspr_train.distributed import Processes
    from caspr_train.project import DbtProject
    from caspr_train.runs import Marts
    from caspr_train.warehouse import Warehouse

MOST_SEED = 2**32 - 1
LONGEST_WAIT = 1_000_000  # seconds; Postgres counts milliseconds in 31 bits
COMMANDS = (
    "train",
    "embed",
    "load",
    "prune",
    "evaluate",
    "finetune",
    "score",
    "report",
    "info",
    "export",
    "simulate",
    "bench",
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 when it is done, 1 for data and 2 for usage that has to be mended first."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or (arguments[0] not in COMMANDS and arguments[0] not in ("-h", "--help", "--version")):
        arguments.insert(0, "train")
    try:
        world = World.from_environment()
        # What is wrong with the command line is said once, not by every process.
        with contextlib.redirect_stderr(io.StringIO() if world and world.rank else sys.stderr):
            options = _parser().parse_args(arguments)
        if world is None:
            options.meeting = None
            options.command(options)
        else:
            _run_together(options, world)
    except CasprError as error:
        print(f"caspr_train: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"caspr_train: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        known = device_error(error)
        if known is None:
            raise
        print(f"caspr_train: {known}", file=sys.stderr)
        return known.exit_code
    except KeyboardInterrupt:
        print("caspr_train: interrupted", file=sys.stderr)
        return 130
    return 0


def _run_together(options: argparse.Namespace, world: World) -> None:
    """Run a command that torchrun, mpirun or srun started several times."""
    if options.command not in (train, finetune):
        if world.rank:
            time.sleep(3)  # torchrun ends all when one does: the first shall have spoken
            raise SystemExit(UsageError.exit_code)
        raise UsageError(
            f"{world.launcher} started {world.count} processes, but only train and finetune run in several; start this "
            f"command without {world.launcher}"
        )
    # torch warns, with its C++ stack, of names that do not resolve and of connections that close.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from caspr_train.meeting import meeting

    with meeting(world) as options.meeting:
        options.command(options)


def train(options: argparse.Namespace) -> None:
    """Train on the marts of the dbt target, embed every customer at every cutoff, load the embeddings."""
    from caspr_train.config import preset
    from caspr_train.distributed import Processes, follow

    # Usage first: whoever asks for four GPUs should not wait for a database to hear that there are none.
    config = preset(
        options.preset,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        patience=options.patience,
        gpu_precision=options.gpu_precision,
        seed=options.seed,
    )
    processes = Processes.choose(options.gpus, options.processes, options.meeting)
    processes.expect_batch(config.batch_size)
    processes.gather()
    if processes.follows:
        from caspr_train import trainer

        follow(trainer.train, processes)
        return

    from caspr_train.files import scratch
    from caspr_train.runs import Marts

    project, warehouse = _project(options)
    config = replace(config, sequence_length=project.published("activity_sequences", "sequence_length"))
    print(f"reading {warehouse}", flush=True)
    with scratch(_runs(options)) as folder:
        marts = Marts.read(warehouse, config, folder)
        print(f"read {marts.describe()}", flush=True)
        run = _train(options, config, processes, marts, project)
    _load(run, warehouse)


def _train(
    options: argparse.Namespace, config: Config, processes: Processes, marts: Marts, project: DbtProject
) -> Path:
    """Train, or find it trained already, and embed; the run's folder."""
    from caspr_train.bundle import Bundle
    from caspr_train.files import alone_in
    from caspr_train.runs import expect_interrupted, identity, job_of, model_version, train_bundle

    ours = identity(marts, config)
    run = _runs(options) / model_version(ours)
    if options.resume not in ("auto", "never"):
        expected, run = run.name, Path(options.resume).resolve()
        expect_interrupted(run, ours)
        if run.name != expected:
            raise UsageError(
                f"--resume {options.resume}: the folder is called {run.name}, expected {expected}, the version of the "
                "model in it; rename it"
            )
    with alone_in(run):
        if (run / "bundle").is_dir():
            bundle = Bundle.load(run / "bundle")
            print(f"this model is trained already (same data, config and code): {run}/bundle; delete it to train again")
        else:
            fitted = int(marts.fitted().sum())
            print(
                f"training preset {config.preset} on {processes}: {fitted:,} sequences, "
                f"{config.epochs_for(fitted)} epochs, {processes.share_of(config.batch_size)}, learning rate "
                f"{config.learning_rate:g} ({config.schedule}) for any number of processes",
                flush=True,
            )
            job = job_of(marts, config, ours, options.resume != "never", options.checkpoint_minutes)
            bundle = train_bundle(marts, job, processes, project, run)
            metrics = bundle.metrics
            print(
                f"trained {metrics['parameters']:,} weights in {metrics['seconds']:.0f} s, "
                f"{metrics['sequences_per_second']:,.0f} sequences/s",
                flush=True,
            )
        _embed(bundle, marts, run, processes)
    return run


def embed(options: argparse.Namespace) -> None:
    """Embed every customer at every cutoff with an existing bundle, and load the embeddings.

    With --changed only those are worked out whose sequence or profile is another than the loaded vector was made of.
    """
    from caspr_train.bundle import Bundle
    from caspr_train.distributed import Processes
    from caspr_train.files import alone_in, scratch
    from caspr_train.runs import Marts, latest_run

    processes = Processes.choose(options.gpus, None)
    folder = options.bundle or latest_run(_runs(options)) / "bundle"
    bundle = Bundle.load(folder)
    _, warehouse = _project(options)
    print(f"reading {warehouse}", flush=True)
    with scratch(_runs(options)) as packed:
        marts = Marts.read(warehouse, bundle, packed, with_known=options.changed)
        print(f"read {marts.describe()}", flush=True)
        run = _runs(options) / bundle.model_version
        with alone_in(run):
            if not (run / "bundle").is_dir():
                bundle.save(run / "bundle")  # so that the run's folder is whole wherever the bundle came from
            _embed(bundle, marts, run, processes)
    _load(run, warehouse)


def load(options: argparse.Namespace) -> None:
    """Load what a run left in its folder, embeddings and evaluations, for instance because the database was locked."""
    from caspr_train.runs import expect_complete, latest_run, version_of

    run = options.run or latest_run(_runs(options))
    expect_complete(run)
    _, warehouse = _project(options)
    _load(run, warehouse)
    version = version_of(run)
    _load_evaluations(run, version, warehouse)
    _say_if_hidden(run, version, warehouse)


def prune(options: argparse.Namespace) -> None:
    """Delete from the database the embeddings of old model versions, and of who is no customer any more."""
    if options.keep < 1:
        raise UsageError(f"--keep {options.keep}: expected a whole number of 1 or more")
    project, warehouse = _project(options)
    rows = warehouse.prune(options.keep)
    print("deleted " + ", ".join(f"{n:,} rows of {project.source(table)}" for table, n in sorted(rows.items())))


def evaluate(options: argparse.Namespace) -> None:
    """Train and measure over several seeds: mean, standard error and paired intervals of every representation.

    The models are trained as `train` does, or found trained. The first one's vectors are loaded, and what was measured
    into model_evaluations, from where the next `dbt build` takes it into model_performance.
    """
    from caspr_train import evaluation
    from caspr_train.config import preset
    from caspr_train.distributed import Processes
    from caspr_train.files import scratch
    from caspr_train.runs import Marts, hold_back, latest_run
    from caspr_train.tasks.tables import performance_table

    first = preset(options.preset, seed=options.seed, epochs=options.epochs)
    _expect_seeds(first.seed, options.seeds)
    processes = Processes.choose(options.gpus, options.processes)
    project, warehouse = _project(options)
    first = replace(first, sequence_length=project.published("activity_sequences", "sequence_length"))
    print(f"reading {warehouse}", flush=True)
    runs: dict[int, Path] = {}
    latest = None
    with contextlib.suppress(DataError):
        latest = latest_run(_runs(options))
    with scratch(_runs(options)) as folder:
        with warehouse.reading() as reader:
            asked, loaded = reader.settings_hashes(), reader.evaluations().to_pandas()
            evaluation.copy_marts(reader, folder / "measured")
        marts = Marts.read(warehouse, first, folder)
        print(f"read {marts.describe()}", flush=True)
        for place in range(options.seeds):
            config = replace(first, seed=first.seed + place)
            print(f"seed {config.seed}, {place + 1} of {options.seeds}", flush=True)
            runs[config.seed] = _train(options, config, processes, marts, project)
            # Until the first is loaded, a nightly `embed` goes on with the run that it took before.
            if runs[config.seed] != (latest or runs[first.seed]):
                hold_back(runs[config.seed])
            evaluation.keep_vectors(runs[config.seed], folder / f"vectors-{config.seed}", folder / "measured")
        print(f"measuring {len(runs)} models" if len(runs) > 1 else "measuring the model", flush=True)
        measured = evaluation.measure(
            {seed: evaluation.reading(folder / "measured", folder / f"vectors-{seed}") for seed in runs}
        )
    run = runs[first.seed]
    table = evaluation.evaluations(measured, run.name, asked, evaluation.known(run, run.name, loaded))
    # Printed and kept first: a database that another process holds should not cost what was measured.
    print(f"\n{performance_table(evaluation.measured_now(table, asked))}\n", flush=True)
    evaluation.keep(table, run)
    _load(run, warehouse)
    _load_evaluations(run, run.name, warehouse)
    _say_if_hidden(run, run.name, warehouse)


def finetune(options: argparse.Namespace) -> None:
    """Train a bundle's encoder on with the labels of a task, RFM and content joined, and measure it beside the others.

    Printed and kept in the run's folder: its row of the table, and what becomes of it with few labels.
    """
    from caspr_train.distributed import Processes, follow
    from caspr_train.finetuner import BATCH, fine_tune

    sizes = _sizes(options.labels)
    _expect_seeds(options.seed, options.seeds)
    processes = Processes.choose(options.gpus, options.processes, options.meeting)
    processes.expect_batch(BATCH)
    processes.gather()
    if processes.follows:
        follow(fine_tune, processes)
        return

    from caspr_train import evaluation, finetuning
    from caspr_train.bundle import Bundle
    from caspr_train.files import scratch
    from caspr_train.runs import Marts, expect_complete
    from caspr_train.tasks.performance import performance
    from caspr_train.tasks.tables import performance_table

    task = finetuning.task_of(options.task)
    folder = _bundle(options)
    bundle, run = Bundle.load(folder), folder.absolute().parent
    expect_complete(run)
    _, warehouse = _project(options)
    print(f"reading {warehouse}", flush=True)
    seeds = range(options.seed, options.seed + options.seeds)
    with scratch(_runs(options)) as packed:
        with warehouse.reading() as reader:
            asked, loaded = reader.settings_hashes(), reader.evaluations().to_pandas()
            evaluation.copy_marts(reader, packed / "measured")
        evaluation.keep_vectors(run, packed / "vectors", packed / "measured")
        read = evaluation.reading(packed / "measured", packed / "vectors")
        marts = Marts.read(warehouse, bundle, packed)
        print(f"read {marts.describe()}", flush=True)
        found = finetuning.finetune(read, marts, bundle, task, seeds, sizes, processes, packed / "finetuning")
    files = finetuning.write(found, run, task)
    print("wrote " + " and ".join(map(str, files)))
    print(performance_table(performance(found.evaluation, task)) + "\n")
    print(finetuning.curve_text(found.curve) + "\n", flush=True)
    before = evaluation.known(run, bundle.model_version, loaded)
    evaluation.keep(finetuning.evaluations(found, task, before, bundle.model_version, asked), run)
    _load_evaluations(run, bundle.model_version, warehouse)


def _expect_seeds(seed: int, seeds: int) -> None:
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected a whole number of 1 or more")
    if not 0 <= seed <= MOST_SEED - (seeds - 1):
        raise UsageError(f"--seed {seed}, --seeds {seeds}: expected seeds from 0 to {MOST_SEED:,}")


def _sizes(text: str) -> list[int]:
    """100,300,1000 as numbers; none of an empty text."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) >= 2 for part in parts):
        raise UsageError(f"--labels {text}: expected whole numbers of 2 or more, such as 100,300,1000")
    return sorted({int(part) for part in parts})


def score(options: argparse.Namespace) -> None:
    """Fit and score as dbt's Python models do, and load the scores, where the warehouse runs no Python models."""
    from caspr_train.scoring import expect_no_python_models, score_tables
    from caspr_train.warehouse import DuckDBWarehouse

    project, warehouse = _project(options)
    expect_no_python_models(project)
    assert not isinstance(warehouse, DuckDBWarehouse), "DuckDB runs Python models"
    print(f"reading {warehouse}", flush=True)
    with warehouse.reading() as reader:
        tables = score_tables(reader)
    rows = warehouse.write_scores(tables)
    print("loaded " + ", ".join(f"{project.source(table)} ({n:,})" for table, n in rows.items()))
    print("next: `dbt build --select source:caspr_trained+` builds the predictions")


def report(options: argparse.Namespace) -> None:
    """Print model_performance, where the tables are, and one query to look at them."""
    from caspr_train.report import report_text

    _, warehouse = _project(options)
    with warehouse.reading() as reader:
        print(report_text(reader))


def info(options: argparse.Namespace) -> None:
    """Print what a bundle holds: lineage, config, schema, data watermark, metrics."""
    from caspr_train.bundle import Bundle
    from caspr_train.info import info_text

    folder = _bundle(options)
    print(info_text(Bundle.load(folder), folder))


def export(options: argparse.Namespace) -> None:
    """Write a bundle as model.onnx, with preprocessing.json that says what to feed it."""
    from caspr_train.bundle import Bundle
    from caspr_train.export import DESCRIPTION, MODEL, expect_exporter, export_onnx

    expect_exporter()
    folder = _bundle(options)
    out = options.out or folder.absolute().parent / "onnx"
    export_onnx(Bundle.load(folder), out)
    print(f"wrote {out / MODEL} and {out / DESCRIPTION}")


def simulate(options: argparse.Namespace) -> None:
    """Write the simulated demo shop: CSV into seeds/, or with --out Parquet of the same columns."""
    from caspr_train.simulate import write_shop

    folder, kind = (options.out, "parquet") if options.out else (Path("seeds"), "csv")
    if options.out is None and not folder.is_dir():
        raise UsageError("there is no folder seeds here: run from the project's root, or name a folder with --out")
    paths = write_shop(folder, options.customers, options.seed, kind, progress=_say_customers)
    for path in paths.values():
        print(f"wrote {path} ({path.stat().st_size / 1e6:,.1f} MB)")


def bench(options: argparse.Namespace) -> None:
    """Measure training, embedding and the input path on this machine, on the marts or on synthetic data."""
    from caspr_train.bench import bench_command

    bench_command(options, lambda: _project(options))


def _say_customers(done: int, customers: int) -> None:
    if customers > done:
        print(f"{done:,} of {customers:,} customers", file=sys.stderr, flush=True)


def _bundle(options: argparse.Namespace) -> Path:
    from caspr_train.runs import latest_run

    return options.bundle or latest_run(_runs(options)) / "bundle"


def _runs(options: argparse.Namespace) -> Path:
    return options.runs or options.project_dir / "runs"


def _project(options: argparse.Namespace) -> tuple[DbtProject, Warehouse]:
    from caspr_train.project import DbtProject
    from caspr_train.warehouse import open_warehouse

    if not 0 <= options.wait <= LONGEST_WAIT:
        raise UsageError(f"--wait {options.wait:g}: expected seconds from 0 to {LONGEST_WAIT:,}")
    project = DbtProject.load(options.project_dir, options.profiles_dir, options.target, options.vars)
    return project, open_warehouse(project, options.wait)


def _embed(bundle: Bundle, marts: Marts, run: Path, processes: Processes) -> None:
    from caspr_train.runs import write_embeddings

    customers, items = write_embeddings(bundle, marts, run, "cuda" if processes.gpus else "cpu")
    known = customers.rows - customers.computed
    print(
        f"embedded {customers.computed:,} customers x cutoffs and {items:,} items into {run}"
        + (f"; {known:,} have not changed and keep their vectors" if known else ""),
        flush=True,
    )


def _load(run: Path, warehouse: Warehouse) -> None:
    from caspr_train.runs import make_latest

    make_latest(run)
    try:
        rows = warehouse.load(run)
    except CasprError as error:
        raise type(error)(
            f"{error}. The embeddings are kept in {run}; `python -m caspr_train load` loads them"
        ) from None
    print("loaded " + ", ".join(f"{warehouse.project.source(table)} ({n:,})" for table, n in rows.items()))
    if warehouse.project.scores_by_itself():
        following = "dbt build --select source:caspr_trained+"
    else:
        following = "python -m caspr_train score"
    print(f"bundle {run}/bundle; next: `{following}` scores with the embeddings")


def _load_evaluations(run: Path, model_version: str, warehouse: Warehouse) -> None:
    """Load what was measured with the run's model, if anything was."""
    from caspr_train.evaluation import KEPT, evaluations_table, kept, known

    if kept(run) is None:
        return
    try:
        with warehouse.reading() as reader:
            loaded = reader.evaluations().to_pandas()
        table = evaluations_table(known(run, model_version, loaded))
        rows = warehouse.write_evaluations(table, model_version)
    except CasprError as error:
        raise type(error)(
            f"{error}. What was measured is kept in {run / KEPT}; `python -m caspr_train load {run}` loads it"
        ) from None
    print(f"loaded {warehouse.project.source('model_evaluations')} ({rows:,})")


def _say_if_hidden(run: Path, model_version: str, warehouse: Warehouse) -> None:
    """The tables show the version that was embedded last, which need not be the one that was loaded last."""
    with warehouse.reading() as reader:
        shown = reader.shown_version()
    if shown not in (None, model_version):
        print(
            f"the tables show {shown}, which was embedded later; to show {model_version} embed it again: "
            f"`python -m caspr_train embed --bundle {run}/bundle`"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="caspr_train", description=__doc__)
    parser.add_argument("--version", action="version", version=f"caspr_train {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    project = argparse.ArgumentParser(add_help=False)
    where = project.add_argument_group("the dbt project")
    where.add_argument("--project-dir", type=Path, default=Path(), help="folder with dbt_project.yml (default: here)")
    where.add_argument("--profiles-dir", type=Path, help="folder with profiles.yml (default: as dbt finds it)")
    where.add_argument("--target", help="target of the profile (default: the profile's)")
    where.add_argument("--vars", default="{}", metavar="YAML", help="the --vars that dbt was run with, if any")
    where.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait for a database that another process holds (default: 60)",
    )
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--runs", type=Path, help="folder of the runs (default: runs in the project's folder)")
    here = argparse.ArgumentParser(add_help=False)
    here.add_argument("--project-dir", type=Path, default=Path(), help="folder with the runs' folder (default: here)")

    def command(
        name: str, function: Callable[[argparse.Namespace], None], *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        text = " ".join((function.__doc__ or "").split())
        added = commands.add_parser(name, parents=parents, help=text, description=text)
        added.set_defaults(command=function)
        return added

    added = command("train", train, runs, project)
    added.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs to train on, a process each (default: all there are)"
    )
    added.add_argument("--processes", type=int, metavar="N", help="with --gpus 0: processes on the CPU (default: 1)")
    added.add_argument("--preset", default="default", help="default, or paper: the paper's model and objective")
    added.add_argument("--epochs", type=int, help="passes over the sequences (default: the preset's)")
    added.add_argument(
        "--batch-size", type=int, help="sequences a step, all processes together (default: the preset's)"
    )
    added.add_argument("--learning-rate", type=float, help="(default: the preset's)")
    added.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="end after N validations without a lower loss, with the weights of the lowest (default: go on to the end)",
    )
    added.add_argument("--gpu-precision", help="bf16 (default) or fp32")
    added.add_argument("--seed", type=int, help="of weights, order and masks (default: 7)")
    added.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|RUN",
        help="go on from the checkpoint of the same data, config and code if there is one (default), begin anew, or go "
        "on with the interrupted run of this folder",
    )
    added.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=10.0,
        metavar="MINUTES",
        help="write a checkpoint so often, beside the one at the end of every epoch (default: 10)",
    )
    added = command("evaluate", evaluate, runs, project)
    added.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="how many seeds, counted from --seed (default: 5)"
    )
    added.add_argument("--seed", type=int, help="the first seed (default: 7)")
    added.add_argument("--preset", default="default", help="default, or paper: the paper's model and objective")
    added.add_argument("--epochs", type=int, help="passes over the sequences (default: the preset's)")
    added.add_argument("--gpus", type=int, metavar="N", help="GPUs to train on (default: all there are)")
    added.add_argument("--processes", type=int, metavar="N", help="with --gpus 0: processes on the CPU (default: 1)")
    added.set_defaults(resume="auto", checkpoint_minutes=10.0)
    added = command("finetune", finetune, runs, project)
    added.add_argument("--task", required=True, help="churn, lifetime_value or fraud")
    added.add_argument("--bundle", type=Path, help="the bundle in a run's folder (default: that of the latest run)")
    added.add_argument("--seeds", type=int, default=3, metavar="N", help="how many, from --seed on (default: 3)")
    added.add_argument("--seed", type=int, default=7, help="the first seed (default: 7)")
    added.add_argument(
        "--labels", default="100,300,1000", metavar="N,N", help="numbers of labels of the curve (default: 100,300,1000)"
    )
    added.add_argument("--gpus", type=int, metavar="N", help="GPUs, a process each (default: all there are)")
    added.add_argument("--processes", type=int, metavar="N", help="with --gpus 0: processes on the CPU (default: 1)")
    added = command("embed", embed, runs, project)
    added.add_argument("--gpus", type=int, choices=(0, 1), help="0 for the CPU (default: one GPU if there is one)")
    added.add_argument("--bundle", type=Path, help="the bundle's folder (default: that of the latest run)")
    added.add_argument(
        "--changed", action="store_true", help="keep the loaded vectors of customers whose sequence did not change"
    )
    added = command("load", load, runs, project)
    added.add_argument("run", type=Path, nargs="?", help="the run's folder (default: the latest)")
    added = command("prune", prune, project)
    added.add_argument("--keep", type=int, default=1, metavar="N", help="versions to keep, the newest (default: 1)")
    command("score", score, project)
    command("report", report, project)
    added = command("info", info, runs, here)
    added.add_argument("bundle", type=Path, nargs="?", help="the bundle's folder (default: that of the latest run)")
    added = command("export", export, runs, here)
    added.add_argument("--onnx", action="store_true", required=True, help="the format; there is no other yet")
    added.add_argument("--bundle", type=Path, metavar="DIR", help="(default: that of the latest run)")
    added.add_argument("--out", type=Path, metavar="DIR", help="a new folder (default: onnx beside the bundle)")
    added = command("simulate", simulate)
    added.add_argument("--customers", type=int, default=2000, metavar="N", help="(default: 2000)")
    added.add_argument("--out", type=Path, metavar="DIR", help="write Parquet here, any size, in bounded memory")
    added.add_argument("--seed", type=int, default=7, help="(default: 7)")
    added = command("bench", bench, project)
    added.add_argument(
        "--synthetic",
        choices=("KKBOX",),
        help="noise in the shape of the paper's KKBOX data; needs torch and numpy alone",
    )
    added.add_argument("--customers", type=int, metavar="N", help="of the synthetic data (default: 1000000)")
    added.add_argument("--preset", default="paper", help="paper (the default) or default")
    added.add_argument("--batch-size", type=int, default=8192, help="sequences a step, all processes together (8192)")
    added.add_argument("--processes", metavar="LIST", help="processes on the CPU, such as 1,2 or 1..4 (default: 1)")
    added.add_argument("--gpus", metavar="LIST", help="GPUs, a process each, such as 1,4 (default: all there are)")
    added.add_argument("--threads", type=int, metavar="N", help="of each process (default: the cores shared out)")
    added.add_argument("--against", choices=("reference",), help="measure benchmarks/reference.py in turn with ours")
    added.add_argument("--rounds", type=int, default=3, metavar="N", help="everything is measured N times, in turn (3)")
    length = added.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=4.0, help="of each measurement, but one batch at least (4)")
    length.add_argument("--steps", type=int, metavar="N", help="batches of each measurement")
    added.add_argument("--json", type=Path, metavar="FILE", help="write every round there")
    return parser

"""dbt, the trainer, and scripts that read a project as it does, each in a process of its own: a fork of one that has
read this project once.

Most of what a short command costs is the import of dbt and torch, and what a first parse works out for every later one.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
# No name here begins with dbt_: what does so on the path, dbt takes for a plugin and imports.
_FORKS.set_forkserver_preload([__name__, "tests.warm"])

# With this in its environment a process fits learners of a tenth of the trees.
SMALL_LEARNERS = "TESTS_SMALL_LEARNERS"


def run_dbt(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """`dbt <words>` in `folder` with exactly that environment, as `subprocess.run` would give it back."""
    return _run(["dbt", *words], folder, environment)


def run_caspr(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """`python -m caspr_train <words>`, likewise."""
    return _run(["caspr_train", *words], folder, environment)


def run_script(
    script: Path, words: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess:
    """`python <script> <words>`, likewise."""
    return _run([str(script), *words], folder, environment)


def _run(words: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    with tempfile.TemporaryDirectory() as scratch:
        said, cried = Path(scratch, "stdout"), Path(scratch, "stderr")
        process = _FORKS.Process(target=_be, args=(words, folder, environment, said, cried))
        process.start()
        process.join()
        return subprocess.CompletedProcess(words, process.exitcode, said.read_text(), cried.read_text())


def _be(words: list[str], folder: Path, environment: dict[str, str], said: Path, cried: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for stream, path in ((1, said), (2, cried)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    if SMALL_LEARNERS in environment:
        from caspr_train.tasks import learners

        learners.TREES, learners.ROUNDS = learners.TREES // 10, learners.ROUNDS // 10
    sys.argv = words
    if words[0] == "dbt":
        # What the script `dbt` does.
        from dbt.cli.main import cli

        sys.exit(cli())
    elif words[0] == "caspr_train":
        # Altered as by `python -m`, so that what it spawns finds its main module.
        runpy.run_module("caspr_train", run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")

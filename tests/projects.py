"""dbt projects for tests: real processes, each project with a database, target and log folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pandas as pd
import yaml

from tests.forks import SMALL_LEARNERS, run_caspr, run_dbt

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
# What another project gets of this one when it installs the package.
PACKAGE = ("models", "macros", "python_models", "profiles", "dbt_project.yml")
EXAMPLES = ROOT / "examples"
# Data sets that stand beside the repository and are no part of it.
SHARED_DATA = ROOT.parent / "shared" / "data"
# For builds of a project that has unit tests of its own: without those of this package.
OWN_UNIT_TESTS = ("--exclude", "package:caspr,resource_type:unit_test")
LEFT_BY_RUNS = shutil.ignore_patterns("data", "dbt_packages", "target", "logs", "runs", "*.duckdb*", "package-lock.yml")


@dataclass
class Project:
    """A dbt project and where its runs leave their traces. `variables` are passed to every dbt command.

    dbt's unit tests bring their own rows and settings, and cost a third of a build: those of this package run in three
    builds, those of an example in its own. The learners of the tasks are small ones (tests/forks.py), unless a project
    has `whole_learners`: on a shop of a few hundred customers they cost two thirds of a build, and what they find is
    asked in test_tasks.py.
    """

    folder: Path
    scratch: Path
    variables: dict[str, str] = field(default_factory=dict)
    unit_tests: bool = False
    whole_learners: bool = False

    @property
    def database(self) -> Path:
        return self.scratch / "caspr.duckdb"

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DBT_", "CASPR_", "MAKE"))}
        profiles = self.folder if (self.folder / "profiles.yml").exists() else ROOT / "profiles"
        return {
            **kept,
            "CASPR_DUCKDB_PATH": str(self.database),
            "DBT_TARGET_PATH": str(self.scratch / "target"),
            "DBT_LOG_PATH": str(self.scratch / "logs"),
            "DBT_PROFILES_DIR": str(profiles),
            **({} if self.unit_tests else {"DBT_EXCLUDE_RESOURCE_TYPES": "unit_test"}),
            **({} if self.whole_learners else {SMALL_LEARNERS: "yes"}),
        }

    def run(self, *command: str | Path) -> subprocess.CompletedProcess:
        """In a process of its own: inside this one dbt would keep the database open."""
        words = [str(word) for word in command]
        return subprocess.run(words, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def try_dbt(self, *arguments: str) -> subprocess.CompletedProcess:
        given = ["--vars", yaml.safe_dump(self.variables)] if self.variables else []
        return run_dbt(["--no-use-colors", *arguments, *given], self.folder, self.environment)

    def dbt(self, *arguments: str) -> str:
        done = self.try_dbt(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def try_caspr(self, *arguments: str) -> subprocess.CompletedProcess:
        return run_caspr(list(arguments), self.folder, self.environment)

    def caspr(self, *arguments: str) -> str:
        done = self.try_caspr(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def begin(self, *arguments: str) -> subprocess.Popen:
        """The command, running."""
        words = [sys.executable, "-m", "caspr_train", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def caspr_fails(self, code: int, message: str, *arguments: str) -> str:
        """The command ends with `code` and one line that matches `message`, and shows no traceback."""
        done = self.try_caspr(*arguments)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("caspr_train: ")]
        assert len(lines) == 1 and re.search(message, lines[0]), done.stderr
        return done.stderr

    def connect(self, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.database), read_only=read_only)

    def frame(self, sql: str) -> pd.DataFrame:
        with self.connect(read_only=True) as connection:
            return connection.execute(sql).df()

    def rows(self, sql: str) -> list[tuple]:
        with self.connect(read_only=True) as connection:
            return connection.execute(sql).fetchall()


def copy_package(folder: Path) -> Path:
    """This project without its seeds, in a folder where tests may change it."""
    for part in PACKAGE:
        source = ROOT / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy(source, folder / part)
    (folder / "profiles.yml").symlink_to("profiles/profiles.yml")
    return folder


def install_package(folder: Path, settings: dict, models: dict[str, str]) -> Project:
    """A project that installs this package: `settings` go under `vars: caspr:`, `models` are name -> SQL."""
    (folder / "models").mkdir(parents=True)
    scratch = folder / "scratch"
    scratch.mkdir()
    project = {
        "name": "installing",
        "version": "1.0.0",
        "profile": "caspr",
        "flags": {"send_anonymous_usage_stats": False},
        "vars": {"caspr": settings},
    }
    (folder / "dbt_project.yml").write_text(yaml.safe_dump(project, sort_keys=False))
    (folder / "packages.yml").write_text(yaml.safe_dump({"packages": [{"local": str(ROOT)}]}))
    for name, sql in models.items():
        (folder / "models" / f"{name}.sql").write_text(sql)
    # What `dbt deps` does with a local package; that it does, the examples show.
    (folder / "dbt_packages").mkdir()
    (folder / "dbt_packages" / "caspr").symlink_to(ROOT)
    return Project(folder, scratch)


def install_example(name: str, house: Path) -> Path:
    """The folder of the example two folders below a copy of the package, so that `local: ../..` is what it says."""
    folder = Path(shutil.copytree(EXAMPLES / name, copy_package(house) / "examples" / name, ignore=LEFT_BY_RUNS))
    shutil.copy(EXAMPLES / "example.mk", folder.parent)
    Project(folder, folder).dbt("deps")
    return folder


def make_without_data(name: str, scratch: Path) -> str:
    """`make` of the example where there is no data ends with exit code 2; the one line that says so."""
    make = ("make", "--no-print-directory", f"BIN={BIN}", f"DATA={scratch / 'nowhere'}")
    done = Project(EXAMPLES / name, scratch).run(*make)
    lines = [line for line in done.stderr.splitlines() if line.startswith(f"{name}: ")]
    assert done.returncode == 2 and len(lines) == 1, done.stdout + done.stderr
    assert str(scratch / "nowhere") in lines[0] and "DATA=" in lines[0]
    return lines[0]

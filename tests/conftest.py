"""dbt for tests: projects that run with a database, target and log folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DBT = Path(sys.executable).parent / "dbt"


@dataclass
class DbtProject:
    """A dbt project and where its runs leave their traces."""

    folder: Path
    scratch: Path

    @property
    def database(self) -> Path:
        return self.scratch / "caspr.duckdb"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CASPR_DUCKDB_PATH": str(self.database),
            "DBT_TARGET_PATH": str(self.scratch / "target"),
            "DBT_LOG_PATH": str(self.scratch / "logs"),
            "DBT_PROFILES_DIR": str(ROOT / "profiles"),
        }

    def try_dbt(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs dbt in a process of its own: inside this one it would keep the database open."""
        command = [str(DBT), "--no-use-colors", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def dbt(self, *arguments: str) -> str:
        done = self.try_dbt(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def connect(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(str(self.database))


def install_package(folder: Path, settings: dict, models: dict[str, str]) -> DbtProject:
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
    installed = DbtProject(folder, scratch)
    installed.dbt("deps")
    return installed


@pytest.fixture(scope="module")
def demo_project(tmp_path_factory) -> DbtProject:
    """This project itself, with the demo shop."""
    return DbtProject(ROOT, tmp_path_factory.mktemp("demo"))

"""What the trainer reads of a dbt project: the target that dbt itself would take, and what it built last."""

import json
import subprocess
import sys

import yaml

from tests.projects import Project

LOAD = (
    "import json; from pathlib import Path; from caspr_train.project import DbtProject\n"
    "project = DbtProject.load(Path())\n"
    "print(json.dumps([project.target, project.credentials.path, project.dbt_invocation_id]))\n"
)


def load(folder, **environment):
    """(target, path of its database, invocation of the last build), in a process of its own."""
    words = [sys.executable, "-c", LOAD]
    known = Project(folder, folder).environment | {"DBT_PROFILES_DIR": str(folder)} | environment
    done = subprocess.run(words, cwd=folder, env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_target_is_dbts_and_half_a_file_of_results_tells_nothing(tmp_path):
    outputs = {name: {"type": "duckdb", "path": f"{name}.duckdb"} for name in ("dev", "prod")}
    profiles = {"shop": {"target": "dev", "outputs": outputs}, "other": {"target": "prod", "outputs": outputs}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump(profiles))
    (tmp_path / "dbt_project.yml").write_text(yaml.safe_dump({"name": "shop", "version": "1.0.0", "profile": "shop"}))
    results = tmp_path / "target" / "run_results.json"
    results.parent.mkdir()
    results.write_text('{"metadata": {"invocation_id": "abc"}, "args": {"which": "build"}}')
    assert load(tmp_path) == ["dev", "dev.duckdb", "abc"]
    results.write_text('{"metadata": {"invocation_id": "abc"}, "ar')
    assert load(tmp_path, DBT_TARGET="prod") == ["prod", "prod.duckdb", None]
    results.write_text('{"metadata": {"invocation_id": "abc"}, "args": {}}')
    assert load(tmp_path, DBT_PROFILE="other") == ["prod", "prod.duckdb", None]

"""The dbt project: which relations its marts are, and how its target is reached. No second place for credentials."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caspr_train.errors import UsageError

PACKAGE = "caspr"


@dataclass(frozen=True)
class DbtProject:
    """A parsed dbt project and its chosen target."""

    folder: Path
    target: str
    credentials: Any  # the dbt adapter's own credentials object; `.type` names the adapter
    manifest: Any  # dbt's Manifest
    dbt_invocation_id: str | None  # of the last dbt command that built something here

    @classmethod
    def load(
        cls, folder: Path, profiles_dir: Path | None = None, target: str | None = None, variables: str = "{}"
    ) -> DbtProject:
        """Parse the project in `folder`, with dbt's own rules for profiles, targets and `variables` (YAML, as --vars).

        UsageError: no dbt project there, or one that does not parse.
        """
        # dbt takes seconds to import; commands that need no project should not pay for it.
        from dbt.cli.main import dbtRunner
        from dbt.config.runtime import load_profile
        from dbt.flags import get_flags

        if not (folder / "dbt_project.yml").is_file():
            raise UsageError(
                f"no dbt_project.yml in {folder.resolve()}: run from the dbt project's folder, or name it "
                "with --project-dir"
            )
        arguments = ["--quiet", "--log-level", "none", "parse", "--project-dir", str(folder), "--vars", variables]
        if profiles_dir is not None:
            arguments += ["--profiles-dir", str(profiles_dir)]
        if target is not None:
            arguments += ["--target", target]
        result = dbtRunner().invoke(arguments)
        if not result.success:
            raise UsageError(f"the dbt project in {folder} does not parse: {_one_line(result.exception)}")
        flags = get_flags()
        # As dbt chose them: by the words of the command, or by DBT_TARGET and DBT_PROFILE.
        profile = load_profile(str(folder), flags.VARS, flags.PROFILE, flags.TARGET)
        results = folder / (getattr(flags, "TARGET_PATH", None) or "target") / "run_results.json"
        return cls(folder, profile.target_name, profile.credentials, result.result, _last_build(results))

    def relation(self, model: str) -> str:
        """The quoted name of the package's model in the target's database."""
        node = self._node("model", model)
        return node.relation_name

    def source(self, table: str) -> str:
        """The quoted name of the trainer's table `table` (dbt source caspr_trained)."""
        return self.source_node(table).relation_name

    def source_node(self, table: str) -> Any:
        """dbt's own object of that table, with its schema and identifier."""
        for source in self.manifest.sources.values():
            if source.package_name == PACKAGE and source.name == table:
                return source
        raise self._not_installed(f"source caspr_trained.{table}")

    def scores_by_itself(self) -> bool:
        """Whether dbt runs the Python models that score on this target (macros/has_python_models.sql)."""
        return f"model.{PACKAGE}.churn_scores" in self.manifest.nodes

    def published(self, model: str, key: str) -> Any:
        """What a model publishes in its `meta`: a setting of the dbt project that the trainer needs too."""
        return self._node("model", model).config.meta[key]

    def git_commit(self) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(self.folder), "rev-parse", "HEAD"], capture_output=True, text=True)
        except OSError:  # no git on this machine
            return None
        return done.stdout.strip() or None if done.returncode == 0 else None

    def _node(self, kind: str, name: str) -> Any:
        node = self.manifest.nodes.get(f"{kind}.{PACKAGE}.{name}")
        if node is None:
            raise self._not_installed(f"{kind} {name}")
        return node

    def _not_installed(self, thing: str) -> UsageError:
        return UsageError(
            f"the dbt project in {self.folder.resolve()} has no {thing} of package {PACKAGE}: add the "
            "package to packages.yml and run `dbt deps`"
        )


def _last_build(run_results: Path) -> str | None:
    """The invocation that wrote the file, if it builds models; None too where a killed one left half of a file."""
    try:
        results = json.loads(run_results.read_text())
        return results["metadata"]["invocation_id"] if results["args"]["which"] in ("build", "run") else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__

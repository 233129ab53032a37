"""The SQL for the warehouses that no test can reach: rendered by dbt with each adapter, parsed in its dialect.

Parsed, never run: a parser knows the grammar, not which functions and casts a warehouse has. The adapters want other
versions than the ones this project runs on, so they live in an environment of their own, which `make dialects` makes.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.projects import ROOT, install_package
from tests.test_warehouses import SETTINGS, make_shop
from tests.warehouses import WarehouseProject

sqlglot = pytest.importorskip("sqlglot", reason="no sqlglot: pip install -e '.[dev]'")

TARGETS = ("snowflake", "bigquery", "databricks", "redshift")
# What each adapter insists on before it renders anything; nothing is ever reached with it.
SETTINGS_OF_NOBODY = {
    "CASPR_SNOWFLAKE_ACCOUNT": "nobody",
    "CASPR_SNOWFLAKE_USER": "nobody",
    "DBT_ENV_SECRET_CASPR_SNOWFLAKE_PASSWORD": "nothing",
    "CASPR_BIGQUERY_PROJECT": "nobody",
    "CASPR_DATABRICKS_HOST": "nobody.invalid",
    "CASPR_DATABRICKS_HTTP_PATH": "/sql/1.0/warehouses/nothing",
    "DBT_ENV_SECRET_CASPR_DATABRICKS_TOKEN": "nothing",
    "CASPR_REDSHIFT_HOST": "nobody.invalid",
    "CASPR_REDSHIFT_USER": "nobody",
    "DBT_ENV_SECRET_CASPR_REDSHIFT_PASSWORD": "nothing",
}
TYPES = {
    "text": "dbt.type_string()",
    "time": "dbt.type_timestamp()",
    "instant": "dbt.type_timestamp()",
    "day": "'date'",
    "double": "caspr.type_double()",
    "whole": "dbt.type_int()",
    "money": "'decimal(10, 2)'",
    "flag": "dbt.type_boolean()",
}
# Every macro that differs between warehouses and that no model calls, or not with every argument.
SHIMS = """
select
    {{ caspr.period_start('day', 'moment') }} as day_at,
    {{ caspr.period_start('week', 'moment') }} as week_at,
    {{ caspr.period_start('month', 'moment') }} as month_at,
    {{ caspr.add_days('moment', -7) }} as earlier_at,
    {{ caspr.row_hash(['number', 'word']) }} as row_hash,
    {{ caspr.hash_total('number') }} over () as hash_total,
    {{ caspr.rounded(caspr.finite('number')) }} as rounded,
    {{ caspr.text_literal("it's a \\\\ literal") }} as literal
from (
    select
        {{ caspr.timestamp_literal('2025-01-01 00:00:00') }} as moment,
        {{ caspr.cast_numerical('1') }} as number,
        {{ caspr.text_literal('a') }} as word
) as values_of_one_row
"""
# dbt would ask the warehouse whether the mart is there already; both answers are rendered.
IS_INCREMENTAL = "{% macro is_incremental() %}{{ return(var('incremental')) }}{% endmacro %}"
# The pre-hooks of the incremental marts, as models that nobody runs: hooks are not rendered without a connection.
HOOKS = {
    "delete_customers": "{{ caspr.delete_stale(ref('customer_fingerprints'), ['customer_id']) }}",
    "delete_pairs": "{% set current = caspr.content_pairs(ref('customer_cutoffs'), ref('attribute_values')) %}"
    "{{ caspr.delete_stale('(' ~ current ~ ')', ['customer_id', 'cutoff_at']) }}",
    "delete_cutoffs": "{{ caspr.delete_dropped_cutoffs() }}",
}


def dialects_dbt() -> Path:
    return ROOT / ".dialects" / "bin" / "dbt"


def empty_model(columns: dict[str, str]) -> str:
    """An ephemeral model of these columns: there is no table that an adapter could look up."""
    casts = [
        f"cast(null as {{{{ {TYPES[kind]} }}}}) as {{{{ caspr.quoted('{name}') }}}}" for name, kind in columns.items()
    ]
    return "{{ config(materialized='ephemeral') }}\nselect " + ", ".join(casts)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    dbt = dialects_dbt()
    if not dbt.exists():
        pytest.skip("no adapters of these warehouses: make dialects")
    settings = dict(SETTINGS)
    # On three of the four a boolean must be cast in the model.
    streams = [dict(stream) for stream in SETTINGS["streams"]]
    streams[0]["attributes"] = [one for one in streams[0]["attributes"] if one["name"] != "is_gift"]
    models = {name: empty_model(table.columns) for name, table in make_shop().items()}
    # Without a value when is_incremental is false the model would be empty.
    hooks = {name: "{% if not var('incremental') %}select 1 as nothing{% endif %}" + sql for name, sql in HOOKS.items()}
    models |= {"shims": SHIMS, **hooks}
    project = install_package(tmp_path_factory.mktemp("dialects") / "project", settings | {"streams": streams}, models)
    (project.folder / "macros").mkdir()
    (project.folder / "macros" / "is_incremental.sql").write_text(IS_INCREMENTAL)
    return project


@pytest.mark.parametrize("incremental", [False, True], ids=["whole", "incremental"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_model_parses_in_the_dialect(installed, target, incremental):
    scratch = installed.folder / f"{target}_{incremental}"
    scratch.mkdir()
    project = WarehouseProject(installed.folder, scratch, target=target, settings=SETTINGS_OF_NOBODY)
    # BigQuery's client wants to find a login, and asks for no token before it sends something.
    login = {"type": "authorized_user", "client_id": "nobody", "client_secret": "nothing", "refresh_token": "nothing"}
    (scratch / "login.json").write_text(json.dumps(login))
    project.settings = project.settings | {"GOOGLE_APPLICATION_CREDENTIALS": str(scratch / "login.json")}
    python_models = [file.stem for file in (ROOT / "python_models").glob("*.py")]
    words = [dialects_dbt(), "--no-use-colors", "compile", "--no-populate-cache", "--no-introspect"]
    words += ["--select", "resource_type:model", "--exclude", *python_models]
    words += ["--vars", json.dumps({"incremental": incremental})]
    done = subprocess.run(words, cwd=project.folder, env=project.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((scratch / "target" / "manifest.json").read_text())
    parsed = []
    for node in manifest["nodes"].values():
        if (
            node["resource_type"] != "model"
            or node["language"] != "sql"
            or node["config"]["materialized"] == "ephemeral"
        ):
            continue
        sql = (
            (project.folder / node["compiled_path"]).read_text() if node.get("compiled_path") else node["compiled_code"]
        )
        try:
            statements = sqlglot.parse(sql, dialect=target, error_level=sqlglot.ErrorLevel.RAISE)
        except sqlglot.ParseError as error:
            pytest.fail(f"{node['name']}: {error}\n{sql}")
        (statement,) = statements
        expected = sqlglot.exp.Delete if incremental and node["name"] in HOOKS else sqlglot.exp.Query
        assert isinstance(statement, expected), (node["name"], type(statement))
        assert not list(statement.find_all(sqlglot.exp.Command)), node["name"]
        parsed.append(node["name"])
    assert {"activity_log", "rfm_features", "model_performance", "shims", *HOOKS} <= set(parsed)

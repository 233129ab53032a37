"""The whole road on a small simulated shop, as its user walks it: real processes, a real file, every exit code."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
import safetensors.numpy

from caspr_train.files import alone_in
from caspr_train.simulate import write_shop
from caspr_train.tasks.representations import BLOCKS
from tests.projects import BIN, ROOT, Project, copy_package

TRAIN = ("--gpus", "0", "--epochs", "2", "--batch-size", "64")
# Recommendation has rankings of its own instead of learners and representations.
OF_LEARNERS = "where task <> 'recommendation'"


def make_shop(folder: Path, customers: int) -> Project:
    """A copy of this project with a shop of its own; with 0 customers one whose tables have no rows."""
    copy_package(folder)
    (folder / "seeds").mkdir()
    shutil.copy(ROOT / "seeds" / "_seeds.yml", folder / "seeds")
    if customers:
        write_shop(folder / "seeds", customers, seed=11)
    else:
        for seed in (ROOT / "seeds").glob("*.csv"):
            (folder / "seeds" / seed.name).write_text(seed.open().readline())
    return Project(folder, folder)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """The tests below walk the road in the order in which they stand."""
    return make_shop(tmp_path_factory.mktemp("shop"), customers=300)


def test_without_a_database_the_trainer_says_what_to_run(project):
    project.caspr_fails(1, r"no database at \S*caspr\.duckdb .*run `dbt build` first")
    assert not (project.folder / "runs").exists()


def test_a_build_before_any_training_is_green_and_rests_on_rfm(project):
    project.dbt("build", "--quiet", "--warn-error")
    assert project.rows(f"select distinct representation from model_performance {OF_LEARNERS} order by 1") == [
        ("rfm",),
        ("rfm_content",),
    ]
    customers = project.rows("select count(distinct customer_id) from activity_log")
    without = project.rows("select sum(customers_without_activity) from customer_counts")
    for table in ("churn_predictions", "lifetime_value_predictions"):
        assert project.rows(f"select count(*) from {table} where has_activity") == customers
        assert project.rows(f"select count(*) from {table} where not has_activity") == without
    assert project.rows("select count(*) > 100, sum(is_alert::int) from fraud_predictions") == [(True, 90)]
    for empty in ("customer_embeddings", "customer_segments", "customer_segment_descriptions", "similar_customers"):
        assert project.rows(f"select count(*) from {empty}") == [(0,)], empty


def test_more_gpus_than_there_are(project):
    project.caspr_fails(2, r"--gpus 64: asked for 64, found \d+ on this machine", "--gpus", "64")


def test_two_processes_train_embed_and_load(project):
    said = project.caspr(*TRAIN, "--processes", "2")
    assert "2 processes on the CPU" in said and "customer_embeddings" in said and "runs/" in said
    expected = project.rows("select count(*) from customer_profiles")
    assert project.rows("select count(*) from customer_embeddings") == expected
    assert project.rows(
        "select count(*) from customer_profiles anti join customer_embeddings using (customer_id, cutoff_at)"
    ) == [(0,)]
    ((width,),) = project.rows("select distinct len(embedding) from customer_embeddings")
    assert width > 32, "the latent vector and what has a name"
    assert project.rows("select count(*) from customer_embeddings where list_contains(embedding, 'nan'::float)") == [
        (0,)
    ]
    assert project.rows("select processes, preset from main_trained.training_runs") == [(2, "default")]
    # Items lie in the customers' space; and every customer who is measured has both controls.
    assert project.rows("select count(*) > 100, count(*) = count(bias), min(len(embedding)) from item_embeddings") == [
        (True, True, width)
    ]
    measured = "select count(*) from customer_embeddings join cutoffs using (cutoff_at) where role != 'score'"
    assert project.rows(
        f"select control, count(*) = ({measured}) from control_embeddings group by all order by all"
    ) == [
        ("mean_pool", True),
        ("random_encoder", True),
    ]
    (run,) = (project.folder / "runs").iterdir()
    assert sorted(f.name for f in run.iterdir()) == [
        "bundle",
        "control_embeddings.parquet",
        "customer_embeddings.parquet",
        "item_embeddings.parquet",
        "tensorboard",
        "training.jsonl",
        "training_runs.parquet",
    ]


def test_the_next_build_scores_with_the_embeddings_and_the_report_prints_the_table(project):
    project.dbt("build", "--quiet", "--warn-error", "--select", "source:caspr_trained+")
    found = project.rows(f"select distinct learner, representation from model_performance {OF_LEARNERS} order by all")
    assert found == [
        (learner, representation) for learner in ("lightgbm", "random_forest") for representation in sorted(BLOCKS)
    ]
    assert project.rows("select count(*) from model_performance where standard_error is null or value is null") == [
        (0,)
    ]
    for table, tasks in {"prediction_deciles": 3, "prediction_reliability": 3, "model_leaderboard": 4}.items():
        assert project.rows(f"select count(distinct task) from {table}") == [(tasks,)], table
    customers = project.rows("select count(distinct customer_id) from activity_log")
    assert (
        project.rows("select sum(customers) from customer_segment_descriptions where difference_rank = 1") == customers
    )
    assert project.rows("select count(*) from similar_customers where similarity_rank = 10") == customers
    said = project.caspr("report")
    assert "caspr_rfm" in said and "churn_predictions" in said and "dbt show" in said
    (printed,) = re.findall(r"^  dbt (show .*)$", said, flags=re.MULTILINE)
    shown = project.dbt(*shlex.split(printed))
    assert "churn_probability" in shown and len(re.findall(r"\| c\d{5} ", shown)) == 10


def test_training_again_changes_nothing(project):
    before = project.rows("select customer_id, cutoff_at, embedding from customer_embeddings order by all")
    said = project.caspr(*TRAIN, "--processes", "2")
    assert "trained already" in said
    assert project.rows("select customer_id, cutoff_at, embedding from customer_embeddings order by all") == before
    assert project.rows("select count(*) from main_trained.training_runs") == [(1,)]


def test_torchrun_makes_the_same_model_to_the_bit_and_loads_it_once(project, tmp_path):
    embeddings = "select customer_id, cutoff_at, embedding from customer_embeddings order by all"
    before = project.rows(embeddings)
    torchrun = (BIN / "torchrun", "--standalone", "--nproc-per-node", "2", "-m", "caspr_train")
    for asked in (TRAIN, (*TRAIN, "--processes", "2")):  # the second finds it trained: there is nothing to take part in
        done = project.run(*torchrun, *asked, "--runs", tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("reading ") == done.stdout.count("loaded ") == 1
    assert "trained already" in done.stdout
    (run,) = (project.folder / "runs").iterdir()
    bundles = (runs / run.name / "bundle" / "weights.safetensors" for runs in (run.parent, tmp_path))
    left, right = map(safetensors.numpy.load_file, bundles)
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])
    # The leader may embed with another number of threads than this command does alone.
    np.testing.assert_allclose([row[2] for row in project.rows(embeddings)], [row[2] for row in before], atol=1e-5)
    assert project.rows("select count(*) from main_trained.training_runs") == [(1,)]
    project.caspr("load", str(run))
    assert project.rows(embeddings) == before


def test_the_bundle_embeds_again_to_the_same_vectors(project):
    before = project.rows("select customer_id, cutoff_at, embedding from customer_embeddings order by all")
    project.caspr("embed", "--gpus", "0")
    after = project.rows("select customer_id, cutoff_at, embedding from customer_embeddings order by all")
    assert sorted(path.name for path in (project.folder / "runs").iterdir()) == sorted(
        {row[0] for row in project.rows("select model_version from main_trained.training_runs")}
    ), "nothing that was packed is left"
    assert [row[:2] for row in before] == [row[:2] for row in after]
    np.testing.assert_array_equal([row[2] for row in before], [row[2] for row in after])


def test_a_locked_database_is_waited_for_and_the_embeddings_are_kept(project):
    """Another process reads: the marts can be read too, but nothing can be loaded until it is gone."""
    connect = f"c = duckdb.connect({str(project.database)!r}, read_only=True)"
    hold = f"import duckdb; {connect}; print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        said = project.caspr_fails(
            1,
            r"still held by another process after 1 s.*kept in runs/\w{12}; `python -m caspr_train load` loads them",
            *TRAIN,
            "--seed",
            "8",
            "--wait",
            "1",
        )
        assert "held by another process; waiting up to 1 s" in said
    finally:
        holder.communicate("\n")
    assert project.rows("select count(distinct model_version) from customer_embeddings") == [(1,)]
    (before,) = project.rows("select distinct model_version from customer_embeddings")
    assert "customer_embeddings" in project.caspr("load")
    (after,) = project.rows("select distinct model_version from customer_embeddings")
    assert before != after
    assert project.rows("select count(*) from main_trained.training_runs") == [(2,)]


VECTORS = "select customer_id, cutoff_at, embedding, input_hash from main_trained.customer_embeddings"
CONTROLS = "select * from main_trained.control_embeddings order by all"


def write(project: Project, *statements: str) -> None:
    with project.connect() as connection:
        for statement in statements:
            connection.execute(statement)


def test_old_versions_stay_until_they_are_pruned(project):
    versions = "select distinct model_version from main_trained.{} order by all"
    tables = ("customer_embeddings", "item_embeddings", "control_embeddings")
    (newest,) = project.rows("select distinct model_version from customer_embeddings")
    assert project.rows("select distinct model_version from item_embeddings") == [newest]
    for table in tables:
        assert len(project.rows(versions.format(table))) == 2
    before = project.rows(VECTORS + f" where model_version = '{newest[0]}' order by all")
    project.caspr_fails(2, "--keep 0: expected a whole number of 1 or more", "prune", "--keep", "0")
    assert "deleted 0 rows" in project.caspr("prune", "--keep", "2")
    (somebody,) = project.rows("select min(customer_id) from customer_embeddings")[0]
    write(project, f"update main.customer_cutoffs set customer_id = 'other' where customer_id = '{somebody}'")
    said = project.caspr("prune")
    assert re.search(r"[1-9][\d,]* rows of \S*customer_embeddings., [1-9][\d,]* rows of \S*item_emb", said), said
    write(project, f"update main.customer_cutoffs set customer_id = '{somebody}' where customer_id = 'other'")
    for table in tables:
        assert project.rows(versions.format(table)) == [newest]
    assert project.rows(VECTORS + " order by all") == [row for row in before if row[0] != somebody]
    assert len(project.rows("select distinct model_version from main_trained.training_runs")) == 2


def test_only_who_changed_is_embedded_and_the_table_equals_a_full_run(project):
    project.caspr("embed", "--gpus", "0")
    full, whole = project.rows(VECTORS + " order by all"), project.rows(CONTROLS)
    said = project.caspr("embed", "--gpus", "0", "--changed")
    assert "embedded 0 customers x cutoffs and" in said and f"; {len(full):,} have not changed" in said
    assert project.rows(VECTORS + " order by all") == full

    # One buys another thing before the last cutoff, of one more is known, one is gone.
    (one, two, gone) = (
        row[0] for row in project.rows("select distinct customer_id from customer_profiles order by all limit 3")
    )
    latest = "recency_rank = 1 and cutoff_at = (select max(cutoff_at) from main.activity_sequences)"
    write(
        project,
        f"update main.activity_sequences set seconds_before_cutoff = 0.5 where customer_id = '{one}' and {latest}",
        f"update main.customer_profiles set age_band = 'another' where customer_id = '{two}'",
        *(
            f"delete from main.{mart} where customer_id = '{gone}'"
            for mart in ("activity_sequences", "customer_profiles")
        ),
    )
    of_two, of_gone = (len([row for row in full if row[0] == name]) for name in (two, gone))
    said = project.caspr("embed", "--gpus", "0", "--changed")
    assert f"embedded {1 + of_two} customers x cutoffs" in said, said
    assert f"; {len(full) - of_gone - of_two - 1:,} have not changed" in said
    changed, controls = project.rows(VECTORS + " order by all"), project.rows(CONTROLS)
    assert changed != full and {row[0] for row in full} - {row[0] for row in changed} == {gone}
    project.caspr("embed", "--gpus", "0")
    assert project.rows(VECTORS + " order by all") == changed
    assert project.rows(CONTROLS) == controls != whole
    project.dbt("run", "--quiet", "--full-refresh", "--select", "activity_sequences", "customer_profiles")
    project.caspr("embed", "--gpus", "0", "--changed")
    assert project.rows(VECTORS + " order by all") == full


def test_tables_of_the_version_before_get_the_column_that_they_lack(project):
    full = project.rows(VECTORS + " order by all")
    write(project, "alter table main_trained.customer_embeddings drop column input_hash")
    project.caspr_fails(1, r"input_hash.*run `dbt build`", "embed", "--gpus", "0", "--changed")
    project.caspr_fails(1, r"nothing was: .*input_hash.*run `dbt build` first", "load")
    project.dbt("run", "--quiet", "--select", "customer_embeddings")
    assert "have not changed" not in project.caspr("embed", "--gpus", "0", "--changed"), "no hash is known"
    assert project.rows(VECTORS + " order by all") == full


def test_a_load_that_fails_leaves_the_old_version_whole(project, tmp_path):
    before = project.rows(
        "select customer_id, cutoff_at, model_version, embedding from customer_embeddings order by all"
    )
    (run,) = {run for run in (project.folder / "runs").iterdir() if run.name != before[0][2]}
    broken = shutil.copytree(run, tmp_path / "broken")
    file = broken / "training_runs.parquet"  # the last of the three to be loaded
    file.write_bytes(file.read_bytes()[:-20])
    project.caspr_fails(1, r"training_runs of \S*broken cannot be loaded, and nothing was", "load", str(broken))
    after = project.rows(
        "select customer_id, cutoff_at, model_version, embedding from customer_embeddings order by all"
    )
    assert after == before


def test_an_error_in_the_middle_of_a_stream_is_one_line(project):
    code = (
        "from pathlib import Path; from caspr_train.project import DbtProject\n"
        "from caspr_train.errors import DataError; from caspr_train.warehouse import open_warehouse\n"
        "with open_warehouse(DbtProject.load(Path())).reading() as reader:\n"
        "    reader.query('set threads = 1')  # in their order; among more threads the bad row may be the first\n"
        "    bad = 'select case when n = 999999 then error(n::text) else n end as n from range(1000000) as t (n)'\n"
        "    stream, rows = reader.stream(bad), 0\n"
        "    try:\n"
        "        for batch in stream: rows += len(batch)\n"
        "    except DataError as error:\n"
        "        print(rows, error)\n"
    )
    said = project.run(sys.executable, "-c", code)
    assert re.fullmatch(r"[1-9]\d* \S*caspr\.duckdb .*a mart cannot be read: .*999999\n", said.stdout), said


def test_what_is_no_run_is_not_loaded(project):
    project.caspr_fails(
        1, r"models holds no customer_embeddings\.parquet: expected the folder of a finished run", "load", "models"
    )
    project.caspr_fails(1, r"models is no bundle", "embed", "--bundle", "models")


def test_a_bundle_of_another_schema_is_refused(project):
    settings = project.folder / "dbt_project.yml"
    text = settings.read_text()
    settings.write_text(text.replace("            - {name: device, kind: categorical}\n", ""))
    assert settings.read_text() != text
    project.dbt("run", "--quiet", "--select", "activity_attributes", "+activity_sequences")
    project.caspr_fails(1, r"made from another schema: sequence device only in the bundle", "embed", "--gpus", "0")
    settings.write_text(text)


def test_a_bundle_is_not_taken_back_behind_a_cutoff_that_it_has_seen_past(project):
    earlier = ("--vars", "{as_of: '2024-12-01'}")
    marts = ("activity_attributes", "+activity_sequences", "customer_profiles")
    project.dbt("run", "--quiet", "--select", *marts, *earlier)
    message = r"learns from activities until 2025-01-02 .* the train cutoff 2024-06-04 .* know the future\. Train again"
    project.caspr_fails(1, message, "embed", "--gpus", "0", *earlier)


def test_a_training_told_to_stop_is_gone_on_with_by_the_same_command(project):
    runs = ("--runs", str(project.scratch / "again"))
    command = (*TRAIN, "--seed", "9", "--epochs", "40", "--checkpoint-minutes", "0", *runs)
    process = project.begin(*command)
    while not (kept := list(project.scratch.glob("again/*/training/checkpoints/*.json"))) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert process.returncode == 75 and "told to stop at step" in said and "Traceback" not in said, said
    run = kept[0].parents[2]
    assert not (run / "bundle").exists() and not list(run.glob("training/packed"))
    other = ("--seed", "10", "--resume", str(run))
    project.caspr_fails(1, r"belongs to another training: seed is 9 there and 10 here", *command, *other)
    with alone_in(run):
        project.caspr_fails(1, rf"{run} is in use by process {os.getpid()} on ", *command)
    project.caspr(*command)
    lines = [json.loads(line) for line in (run / "training.jsonl").read_text().splitlines()]
    assert [line["resumed"] for line in lines if line["event"] in ("begin", "end")] == [0, 1, 1]
    assert (run / "bundle").is_dir() and not (run / "training").exists()


def test_a_folder_without_a_project(project):
    project.caspr_fails(2, r"no dbt_project\.yml in .*--project-dir", "--project-dir", "models")


def test_missing_marts_and_empty_marts(tmp_path):
    empty = make_shop(tmp_path, customers=0)
    duckdb.connect(str(empty.database)).close()
    empty.caspr_fails(1, r"activity_attributes does not exist.*run `dbt build` first")
    empty.dbt("build", "--quiet", "--warn-error")
    assert empty.rows("select count(*) from model_performance") == [(0,)]
    empty.caspr_fails(1, r"the mart cutoffs holds no rows; expected at least one of role train")
    assert "No performance yet" in empty.caspr("report")
    assert not (tmp_path / "runs").exists()


def test_a_bare_build_of_the_committed_shop_is_green(demo_project):
    demo_project.dbt("build", "--quiet", "--warn-error")
    assert demo_project.rows("select count(distinct customer_id) > 1500 from churn_predictions") == [(True,)]


def test_what_the_command_line_says_does_not_reach_a_unit_test(demo_project):
    units = ("test_type:unit,rejected_activities", "test_type:unit,cutoffs")
    said = demo_project.dbt("test", "--select", *units, "--vars", "{as_of: 2025-01-01}")
    assert re.search(r"PASS=(\d+) WARN=0 ERROR=0", said) and "PASS=0" not in said


def test_what_the_yaml_says_is_read_in_the_database(demo_project):
    without = "select table_name from duckdb_tables() where not internal and comment is null and schema_name = 'main'"
    assert demo_project.rows(without) == []
    cutoff_at = "table_name = 'rfm_features' and column_name = 'cutoff_at'"
    assert demo_project.rows(f"select comment like 'The cutoff;%' from duckdb_columns() where {cutoff_at}") == [(True,)]


def test_the_documentation_is_generated_without_a_warning(demo_project):
    demo_project.dbt("--warn-error", "docs", "generate")
    assert (demo_project.scratch / "target" / "catalog.json").stat().st_size > 100_000


def test_embeddings_that_nobody_refreshes_are_reported(demo_project):
    """The shop's trainer has never run: dbt warns, and does not fail."""
    assert re.search(r"WARN freshness of caspr_trained\.customer_embeddings", demo_project.dbt("source", "freshness"))


def test_the_installed_command_is_the_module(project):
    assert project.run(BIN / "caspr_train", "--version").stdout == project.caspr("--version")


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Project:
    """A shop of its own: the two tests below add models, which the tests above count."""
    shop = make_shop(tmp_path_factory.mktemp("measured"), customers=300)
    shop.dbt("build", "--quiet", "--exclude", "resource_type:test", "resource_type:unit_test")
    shop.caspr(*TRAIN)
    shop.dbt("build", "--quiet", "--select", "source:caspr_trained+", "--exclude", "resource_type:test")
    return shop


def test_the_encoder_fine_tuned_is_one_more_row_of_the_table(measured):
    wrong = ("finetune", "--gpus", "0", "--task")
    measured.caspr_fails(2, "--task loyalty: expected one of churn, ", *wrong, "loyalty")
    measured.caspr_fails(2, "--labels many: expected whole numbers", *wrong, "churn", "--labels", "many")
    before = measured.rows("select * from model_performance where task <> 'churn' order by all")
    said = measured.caspr("finetune", "--task", "churn", "--gpus", "0", "--seeds", "1", "--labels", "40")
    assert "caspr_finetuned" in said and "40 labels" in said and "all labels" in said
    assert len(list(measured.folder.glob("runs/*/finetuned_churn*"))) == 2
    measured.dbt("build", "--quiet", "--warn-error", "--select", "source:caspr_trained+")
    found = measured.rows("select metric from model_performance where representation = 'caspr_finetuned' order by all")
    assert found == [("auroc",), ("brier",), ("f1",)]
    assert measured.rows("select * from model_performance where task <> 'churn' order by all") == before


def test_evaluate_measures_several_seeds_and_the_next_build_takes_it_over(measured):
    (newest,) = measured.rows("select distinct model_version from customer_embeddings")[0]
    once = measured.rows("select count(*) from model_performance where representation <> 'caspr_finetuned'")
    said = measured.caspr("evaluate", "--seeds", "2", "--epochs", "1", "--gpus", "0")
    assert "churn at 2025-04-02" in said and "2 seeds" in said and "rfm_mean_pool" in said
    measured.dbt("build", "--quiet", "--warn-error", "--select", "source:caspr_trained+")
    (evaluated,) = measured.rows("select distinct model_version from customer_embeddings")[0]
    assert evaluated != newest
    assert measured.rows("select distinct seeds from model_performance") == [(2,)]
    assert measured.rows("select count(*) from model_performance") == once
    assert measured.rows("select count(*) from model_performance where seed_standard_error is null") == [(0,)]
    # Of a few frauds two seeds may find the same number.
    of_rfm = "where task <> 'fraud' and learner = 'random_forest' and representation = 'rfm'"
    assert measured.rows(f"select min(seed_standard_error) > 0 from model_performance {of_rfm}") == [(True,)]
    measured.caspr_fails(2, "--seeds 0: expected a whole number of 1 or more", "evaluate", "--seeds", "0")
    measured.caspr_fails(2, "--seed -1, --seeds 3: expected seeds", "finetune", "--task", "churn", "--seed", "-1")
    measured.caspr_fails(2, "--wait -1: expected seconds from 0", "load", "--wait", "-1")

    # What was asked then is no answer to another question, and comes back with the old one.
    asked = measured.rows("select * from model_performance order by all")
    evaluated = measured.rows("select count(*) from main_trained.model_evaluations")
    other = ("--vars", "{churn: {activity_types: [order, visit]}}")
    measured.dbt("run", "--quiet", "--select", "task_settings", "churn_labels+", *other)
    seeds = measured.rows("select task, seeds from model_performance group by all order by all")
    assert seeds == [("churn", 1), ("fraud", 2), ("lifetime_value", 2), ("recommendation", 2)]
    said = measured.caspr("finetune", "--task", "churn", "--gpus", "0", "--seeds", "1", "--labels", "40", *other)
    assert "caspr_finetuned" in said
    # By the latest run's bundle: of the seeds that were trained the one which was loaded.
    now = "(select settings_hash from task_settings where task = 'churn')"
    where = f"where representation = 'caspr_finetuned' and settings_hash = {now}"
    fine = measured.rows(f"select distinct model_version from main_trained.model_evaluations {where}")
    assert fine == measured.rows("select distinct model_version from customer_embeddings")
    assert measured.rows("select count(*) from main_trained.model_evaluations") > evaluated
    measured.dbt("run", "--quiet", "--select", "task_settings", "churn_labels+")
    assert measured.rows("select * from model_performance order by all") == asked


def test_what_was_measured_is_kept_beside_the_run_and_loaded_with_it(measured):
    (newest,) = measured.rows("select distinct model_version from customer_embeddings")[0]
    of_newest = f"select * from main_trained.model_evaluations where model_version = '{newest}' order by all"
    rows = measured.rows(of_newest)
    with measured.connect() as connection:
        connection.execute("delete from main_trained.model_evaluations")
    assert "model_evaluations" in measured.caspr("load")
    assert rows and measured.rows(of_newest) == rows
    versions = f"select model_version from main_trained.training_runs where model_version <> '{newest}'"
    (older,) = measured.rows(versions)[0]
    said = measured.caspr("load", f"runs/{older}")
    assert f"the tables show {newest}, which was embedded later; to show {older} embed it again" in said


def test_while_seeds_are_measured_the_latest_run_is_the_one_that_the_tables_show(measured):
    before = measured.caspr("info").splitlines()[0]
    process = measured.begin("evaluate", "--seeds", "2", "--seed", "30", "--epochs", "1", "--gpus", "0")
    for line in process.stdout:
        if line.startswith("measuring 2 models"):
            break
    process.terminate()
    assert process.wait() != 0 and len(list(measured.folder.glob("runs/*/bundle"))) >= 4
    assert measured.caspr("info").splitlines()[0] == before


def test_nothing_is_measured_on_marts_of_another_day(measured):
    train_and_measure = ("evaluate", "--seeds", "1", "--epochs", "1", "--gpus", "0")
    fine_tune = ("finetune", "--task", "churn", "--gpus", "0", "--seeds", "1")
    with measured.connect() as connection:
        for mart in ("cutoffs", "customer_counts"):
            connection.execute(f"update {mart} set cutoff_at = timestamp '2025-04-03' where cutoff_at = '2025-04-02'")
        connection.execute("update churn_labels set cutoff_at = timestamp '2025-04-03' where cutoff_at = '2025-04-02'")
    measured.caspr_fails(
        1, r"runs/\w+ has no vectors at the cutoff 2025-04-03 00:00:00, .* caspr_train embed", *fine_tune
    )
    with measured.connect() as connection:
        connection.execute("delete from churn_labels where cutoff_at = timestamp '2025-04-03'")
    message = r"no labels are known at an evaluate cutoff \(2025-04-03 00:00:00\); expected some to measure with"
    measured.caspr_fails(1, message, *train_and_measure)


def test_nothing_is_trained_on_the_future_of_a_cutoff_to_be_scored(measured):
    """dbt refuses such cutoffs; here somebody else wrote the mart. The last test of this shop."""
    with measured.connect() as connection:
        connection.execute("update cutoffs set cutoff_at = timestamp '2024-10-01' where role = 'score'")
    message = r"the model learns from activities until 2025-01-02 .*, after the score cutoff 2024-10-01 .* the future\."
    measured.caspr_fails(1, message, *TRAIN)

"""The example of students: the staging of the whole files against pandas, then the whole road on a quarter of them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from caspr_train.tasks.representations import BLOCKS
from tests.projects import BIN, OWN_UNIT_TESTS, SHARED_DATA, Project, install_example, make_without_data

FILES = ["vle.parquet", "vle_sites.csv", "student_assessment.parquet", "registration.parquet", "info.parquet"]
KEY = ["code_module", "code_presentation", "id_student"]
STARTS = {"2013B": pd.Timestamp("2013-02-01"), "2013J": pd.Timestamp("2013-10-01"), "2014J": pd.Timestamp("2014-10-01")}
LENGTHS = {("BBB", "2013B"): 240, ("AAA", "2013J"): 268, ("BBB", "2013J"): 268, ("AAA", "2014J"): 269}
TRAIN, EVALUATE, SCORE = (start + pd.Timedelta(days=60) for start in STARTS.values())

needs_data = pytest.mark.skipif(
    not all((SHARED_DATA / f"oulad_{file}").is_file() for file in FILES),
    reason="no ../shared/data/oulad_* beside the repository (Open University Learning Analytics dataset)",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    return install_example("oulad", tmp_path_factory.mktemp("house"))


def example(folder: Path, scratch: Path, data: Path) -> Project:
    scratch.mkdir(exist_ok=True)
    return Project(folder, scratch, {"oulad_path": str(data)}, unit_tests=True)


@pytest.fixture(scope="module")
def whole(installed) -> Project:
    """Staging on the whole files, with its unit tests and with the data tests that need nothing else."""
    project = example(installed, installed / "whole", SHARED_DATA)
    project.dbt("build", "--select", "path:models/staging", "--indirect-selection", "cautious")
    return project


@pytest.fixture(scope="module")
def sample(installed) -> Project:
    """Everything, on what every fourth student of the two modules did."""
    data = installed / "sample"
    data.mkdir()
    kept = {
        "vle.parquet": "where id_student % 4 = 0",
        # BBB 2014J ends with 15024; of small samples of other modules nobody could say which presentation they are of.
        "student_assessment.parquet": "where id_student % 4 = 0 and id_assessment <= 15024",
    }
    for file in FILES:
        target = data / f"oulad_{file}"
        form = "parquet" if target.suffix == ".parquet" else "csv"
        rows = f"from '{SHARED_DATA / target.name}' {kept.get(file, '')}"
        duckdb.connect().execute(f"copy ({rows}) to '{target}' (format {form})")
    project = example(installed, data, data)
    project.dbt("build", *OWN_UNIT_TESTS)
    project.caspr("--gpus", "0", "--epochs", "1", "--preset", "default")
    project.dbt("build", "--select", "source:caspr_trained+", *OWN_UNIT_TESTS)
    return project


def days_by_pandas(data: Path) -> pd.DataFrame:
    """One row per module, presentation, student, page and day: clicks, `at`."""
    clicks = pd.read_parquet(data / "oulad_vle.parquet")
    days = clicks.groupby([*KEY, "id_site", "date"], as_index=False).sum_click.sum()
    return days.assign(at=days.code_presentation.map(STARTS) + pd.to_timedelta(days.date, unit="D"))


def outcomes_by_pandas(data: Path) -> pd.DataFrame:
    """One row per student of the four presentations: `fails`, `withdraws`, `at`, by customer id."""
    info, registered = (pd.read_parquet(data / f"oulad_{name}.parquet") for name in ("info", "registration"))
    lengths = pd.DataFrame([(*pair, days) for pair, days in LENGTHS.items()], columns=[*KEY[:2], "days"])
    students = info.merge(registered, on=KEY).merge(lengths, on=KEY[:2])
    days = students.du.astype(float).fillna(students.days)
    students["at"] = students.code_presentation.map(STARTS) + pd.to_timedelta(days, unit="D")
    students["withdraws"] = students.du.notna()
    students["fails"] = students.withdraws | students.final_result.isin(["Fail", "Withdrawn"])
    ids = students.code_module + "|" + students.code_presentation + "|" + students.id_student.astype(str)
    return students.set_index(ids)[["fails", "withdraws", "at"]]


def labels_by_pandas(project: Project, outcome: str) -> dict[tuple[str, pd.Timestamp], bool]:
    """Who did anything before day 60 of the own presentation and is still there on that day."""
    outcomes = outcomes_by_pandas(Path(project.variables["oulad_path"]))
    firsts = (
        project.frame("""
        select concat_ws('|', code_module, code_presentation, id_student) as customer_id, min(first_at) as first_at
        from (
            select code_module, code_presentation, id_student, clicked_at as first_at from stg_clicks
            union all select code_module, code_presentation, id_student, submitted_at from stg_submissions
        ) group by all
    """)
        .set_index("customer_id")
        .first_at
    )
    labels = {}
    for cutoff in (TRAIN, EVALUATE):
        for customer in firsts[firsts < cutoff].index:
            if outcomes["at"][customer] >= cutoff:
                labels[customer, cutoff] = bool(outcomes[outcome][customer])
    return labels


def labels(project: Project) -> dict[tuple[str, pd.Timestamp], bool]:
    rows = project.rows("select customer_id, cutoff_at, is_churned from churn_labels")
    return {(customer, pd.Timestamp(cutoff)): is_churned for customer, cutoff, is_churned in rows}


@needs_data
def test_clicks_of_the_whole_file_are_those_of_pandas(whole):
    expected = days_by_pandas(SHARED_DATA).rename(columns={"sum_click": "clicks", "at": "clicked_at"})
    found = whole.frame("select * exclude (page_type) from stg_clicks")
    order = [*KEY, "id_site", "clicked_at"]
    found, expected = (frame[[*order, "clicks"]].sort_values(order, ignore_index=True) for frame in (found, expected))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    assert len(found) == 773_216


@needs_data
def test_an_assessment_is_of_the_presentation_in_which_all_who_hand_it_in_are_registered(whole):
    assert whole.rows("select count(*), count(distinct id_assessment) from stg_assessments") == [(188, 188)]
    submitted = pd.read_parquet(SHARED_DATA / "oulad_student_assessment.parquet")
    submitted = submitted[~submitted.is_banked]
    registered = pd.read_parquet(SHARED_DATA / "oulad_registration.parquet")[KEY]
    found = whole.frame("select * from stg_assessments").merge(submitted, on="id_assessment")
    assert len(found) == len(submitted) == len(found.merge(registered, on=KEY))


@needs_data
def test_outcomes_of_the_whole_file_are_those_of_pandas(whole):
    found = whole.frame("select * from stg_outcomes")
    found.index = found.code_module + "|" + found.code_presentation + "|" + found.id_student.astype(str)
    found = found.rename(columns={"is_failed_or_withdrawn": "fails", "is_withdrawn": "withdraws", "ended_at": "at"})
    expected = outcomes_by_pandas(SHARED_DATA).sort_index()
    pd.testing.assert_frame_equal(found[expected.columns].sort_index(), expected, check_dtype=False)


@needs_data
def test_nobody_is_asked_after_the_own_outcome(sample):
    assert labels(sample) == labels_by_pandas(sample, "fails")
    presentation = "split_part(customer_id, '|', 2)"
    labelled = sample.rows(f"select distinct {presentation}, cutoff_at from churn_labels order by all")
    assert labelled == [("2013B", TRAIN), ("2013J", EVALUATE)]
    assert sample.rows(f"select distinct {presentation} from churn_predictions") == [("2014J",)]


@needs_data
def test_the_outcome_is_no_attribute(sample):
    attributes = {name for (name,) in sample.rows("select attribute_name from activity_attributes")}
    assert not attributes & {"final_result", "du", "is_withdrawn", "is_failed_or_withdrawn"}
    late = "select count(*) from activity_sequences where occurred_at >= cutoff_at"
    assert sample.rows(late) == [(0,)]


@needs_data
def test_clicks_tell_who_fails_and_the_second_run_asks_who_withdraws(sample):
    select = "select * from model_performance where task = 'churn' and metric = 'auroc'"
    auroc = sample.frame(select).set_index(["learner", "representation"]).value
    assert set(BLOCKS) <= set(auroc["lightgbm"].index)
    # A quarter of the students is enough to be better than chance, 0.5, by about four standard errors.
    assert auroc["lightgbm", "rfm"] > 0.58

    data = sample.variables["oulad_path"]
    done = sample.run("make", "--no-print-directory", "withdrawn", f"BIN={BIN}", f"DATA={data}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert labels(sample) == labels_by_pandas(sample, "withdraws")
    again = sample.frame(select).set_index(["learner", "representation"]).value
    assert again["lightgbm", "rfm"] != auroc["lightgbm", "rfm"]


def test_missing_files_are_one_line_and_exit_code_2(tmp_path):
    assert "Open University" in make_without_data("oulad", tmp_path)

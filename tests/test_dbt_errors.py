"""A wrong variable stops dbt with one line: the key, what was given, what is expected."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date

import pytest
import yaml

from tests.projects import ROOT, install_package

STREAM = {"model": "stg_web_visits", "activity_id": "visit_id", "occurred_at": "visited_at", "activity_type": "visit"}
PAGE = {"name": "page", "kind": "categorical"}


def stream(**changes) -> dict:
    """A good stream with some keys changed; None takes a key away."""
    return {key: value for key, value in {**STREAM, **changes}.items() if value is not None}


def attributes(*given: dict) -> dict:
    return {"streams": [stream(attributes=list(given))]}


# name: (variables, what the message must hold)
WRONG = {
    "no stream": ({"streams": []}, ["streams is []", "a list of streams"]),
    "streams as text": ({"streams": "stg_web_visits"}, ['streams is "stg_web_visits"', "a list of streams"]),
    "stream without model": ({"streams": [stream(model=None)]}, ["streams[0].model is missing", "name of a model"]),
    "stream with a model of three parts": (
        {"streams": [stream(model="caspr.demo.stg_web_visits")]},
        ['streams[0].model is "caspr.demo.stg_web_visits"', "model, or package.model"],
    ),
    "stream with an unknown key": (
        {"streams": [stream(time="visited_at")]},
        ["streams[0].time", "one of these keys", "occurred_at, loaded_at, activity_type"],
    ),
    "stream without activity type": (
        {"streams": [STREAM, stream(activity_type=None)]},
        ["streams[1].activity_type is missing", "activity_type_column"],
    ),
    "stream with both activity types": (
        {"streams": [stream(activity_type_column="page")]},
        ['streams[0].activity_type is "visit"', 'only one of activity_type and activity_type_column ("page")'],
    ),
    "attributes as a mapping": ({"streams": [stream(attributes=PAGE)]}, ["streams[0].attributes is", "a list"]),
    "attribute without name": (
        attributes({"kind": "categorical"}),
        ["streams[0].attributes[0].name is missing"],
    ),
    "attribute with a strange name": (
        attributes({"name": "Page URL", "kind": "categorical"}),
        ['streams[0].attributes[0].name is "Page URL"', "lower-case letters"],
    ),
    "attribute named like a mart's column": (
        attributes({"name": "position", "kind": "numerical"}),
        ['attributes[0].name is "position"', "no column of the marts"],
    ),
    "attribute named like a column on the way": (
        attributes({"name": "activities_dropped", "kind": "numerical"}),
        ['attributes[0].name is "activities_dropped"', "no column of the marts"],
    ),
    "attribute named like the package's own": (
        {"profile": {"model": "stg_customers", "attributes": [{"name": "caspr_valid_from", "kind": "categorical"}]}},
        ['profile.attributes[0].name is "caspr_valid_from"', "begin with caspr_"],
    ),
    "attribute with a name too long for its columns": (
        attributes({"name": "a" * 29, "column": "page", "kind": "categorical"}),
        [
            f'attributes[0].name is "{"a" * 29}"',
            "at most 28 characters, because <name>_top_10_days_since_last_in_sequence must be a name too",
            "keep column: page",
        ],
    ),
    "attribute with a name too long for its relative number": (
        attributes({"name": "a" * 49, "column": "seconds", "kind": "numerical", "relative": True}),
        ["attributes[0].name is", "at most 48 characters, because <name>_relative_count must be"],
    ),
    "profile attribute with a name too long": (
        {"profile": {"model": "stg_customers", "attributes": [{"name": "a" * 64, "kind": "categorical"}]}},
        ["profile.attributes[0].name is", "at most 63 characters, because <name> must be"],
    ),
    "attribute twice in a stream": (attributes(PAGE, PAGE), ['attributes[1].name is "page"', "once"]),
    "attribute without kind": (
        attributes({"name": "page"}),
        ["streams[0].attributes[0].kind is missing", "categorical or numerical", "'page'"],
    ),
    "attribute of an unknown kind": (
        attributes(PAGE, {"name": "device", "kind": "text"}),
        ['streams[0].attributes[1].kind is "text"', "categorical or numerical"],
    ),
    "attribute with an unknown key": (
        attributes({**PAGE, "type": "x"}),
        ["streams[0].attributes[0].type", "name, column, kind, role"],
    ),
    "attribute with an unknown role": (
        attributes({**PAGE, "role": "product"}),
        ['streams[0].attributes[0].role is "product"', "item or monetary"],
    ),
    "item that is a number": (
        attributes({"name": "page", "kind": "numerical", "role": "item"}),
        ['attributes[0].kind is "numerical"', "categorical because the role of 'page' is item"],
    ),
    "money that is a category": (
        attributes({"name": "page", "kind": "categorical", "role": "monetary"}),
        ['attributes[0].kind is "categorical"', "numerical because the role of 'page' is monetary"],
    ),
    "role twice": (
        attributes({**PAGE, "role": "item"}, {"name": "device", "kind": "categorical", "role": "item"}),
        ["streams[0].attributes[1].role", "one attribute with that role", "'page' (streams[0].attributes[0])"],
    ),
    "one attribute of two kinds": (
        {"streams": [stream(attributes=[PAGE]), stream(attributes=[{"name": "page", "kind": "numerical"}])]},
        ['streams[1].attributes[0].kind is "numerical"', "categorical as in streams[0].attributes[0]"],
    ),
    "one attribute with and without a role": (
        {"streams": [stream(attributes=[{**PAGE, "role": "item"}]), stream(attributes=[PAGE])]},
        ["streams[1].attributes[0].role is missing", "item as in streams[0].attributes[0]"],
    ),
    "attributes as empty text": ({"streams": [stream(attributes="")]}, ['streams[0].attributes is ""', "a list"]),
    "attributes as an empty mapping": ({"streams": [stream(attributes={})]}, ["streams[0].attributes is {}", "a list"]),
    "profile as a list": ({"profile": []}, ["profile is []", "a mapping with the keys: model", "{} for no profile"]),
    "profile as empty text": ({"profile": ""}, ['profile is ""', "a mapping with the keys: model"]),
    "profile that is no truth": ({"profile": False}, ["profile is false", "a mapping with the keys: model"]),
    "profile with attributes as empty text": (
        {"profile": {"model": "stg_customers", "attributes": ""}},
        ['profile.attributes is ""', "a list"],
    ),
    "profile without model": ({"profile": {"attributes": [PAGE]}}, ["profile.model is missing"]),
    "profile with an unknown key": (
        {"profile": {"model": "stg_customers", "columns": []}},
        ["profile.columns", "model, customer_id, valid_from, valid_to, attributes"],
    ),
    "profile attribute with a role": (
        {"profile": {"model": "stg_customers", "attributes": [{**PAGE, "role": "item"}]}},
        ["profile.attributes[0].role", "name, column, kind"],
    ),
    "horizon of no days": ({"horizon_days": 0}, ["horizon_days is 0", "whole number of at least 1"]),
    "horizon as text": ({"horizon_days": "90"}, ['horizon_days is "90"', "whole number"]),
    "no train cutoff": ({"train_cutoffs": -1}, ["train_cutoffs is -1", "whole number of at least 1"]),
    "history shorter than the sequence": (
        {"history_length": 10},
        ["history_length is 10", "at least sequence_length, which is 15"],
    ),
    "as_of before anything is possible": (
        {"as_of": "1970-01-02"},
        ['as_of is "1970-01-02 00:00:00"', "a time after possible_from, which is 1970-01-02 00:00:00"],
    ),
    "a list of dates": (
        {"train_cutoffs": [date(2025, 1, 1), date(2025, 2, 1)]},
        ["train_cutoffs is [2025-01-01, 2025-02-01]", "a whole number of at least 1"],
    ),
    "as_of that is no time": ({"as_of": "yesterday"}, ['as_of is "yesterday"', "a timestamp such as"]),
    "cutoffs as text": ({"cutoffs": "2025-01-01"}, ["cutoffs is", "a list of {cutoff_at, role}"]),
    "cutoff without a time": ({"cutoffs": [{"role": "train"}]}, ["cutoffs[0].cutoff_at is missing", "timestamp"]),
    "cutoff in month 13": (
        {"cutoffs": [{"cutoff_at": "2025-13-01", "role": "train"}]},
        ['cutoffs[0].cutoff_at is "2025-13-01"', "timestamp"],
    ),
    "cutoff on 30 February": (
        {"cutoffs": [{"cutoff_at": "2025-02-30", "role": "train"}]},
        ['cutoffs[0].cutoff_at is "2025-02-30"', "timestamp"],
    ),
    "cutoff with an unknown role": (
        {"cutoffs": [{"cutoff_at": "2025-01-01", "role": "test"}]},
        ['cutoffs[0].role is "test"', "train, evaluate or score"],
    ),
    "cutoff twice": (
        {"cutoffs": [{"cutoff_at": "2025-01-01", "role": "train"}, {"cutoff_at": "2025-01-01T00:00", "role": "score"}]},
        ["cutoffs[1].cutoff_at", "once"],
    ),
    "cutoff twice, with a fraction": (
        {"cutoffs": [{"cutoff_at": f"2025-01-01 00:00:00{end}", "role": "train"} for end in (".50", ".5")]},
        ["cutoffs[1].cutoff_at", "once"],
    ),
    "cutoffs beside a number of train cutoffs": (
        {"cutoffs": [{"cutoff_at": "2025-01-01", "role": "train"}], "train_cutoffs": 3},
        ["train_cutoffs is 3", "cutoffs lists them one by one", "train_cutoffs: null"],
    ),
    "cutoffs beside a step": (
        {"cutoffs": [{"cutoff_at": "2025-01-01", "role": "train"}], "train_cutoff_step_days": 3},
        ["train_cutoff_step_days is 3", "cutoffs lists them one by one"],
    ),
    "cutoff after as_of": (
        {"cutoffs": [{"cutoff_at": "2025-01-01 00:00:00.5", "role": "score"}], "as_of": "2025-01-01 00:00:00.45"},
        ['cutoffs[0].cutoff_at is "2025-01-01 00:00:00.5"', "at or before as_of, which is 2025-01-01 00:00:00.45"],
    ),
    "train labels that are not known at the evaluate cutoff": (
        {
            "horizon_days": 30,
            "churn": {"horizon_days": 31},
            "cutoffs": [
                {"cutoff_at": "2025-03-01", "role": "evaluate"},
                {"cutoff_at": "2025-01-29", "role": "train"},
                {"cutoff_at": "2025-01-29 00:00:00.000001", "role": "train"},
            ],
        },
        [
            'cutoffs[2].cutoff_at is "2025-01-29 00:00:00.000001"',
            "a train cutoff at least 31 days (the longest horizon) before the evaluate cutoff 2025-03-01 00:00:00",
            "horizon_days",
        ],
    ),
    "without money and fraud, churn's horizon is the longest": (
        {
            "streams": [stream()],
            "fraud": {},
            "churn": {"horizon_days": 31},
            "cutoffs": [
                {"cutoff_at": "2025-03-01", "role": "evaluate"},
                {"cutoff_at": "2025-01-30", "role": "train"},
            ],
        },
        ['cutoffs[1].cutoff_at is "2025-01-30 00:00:00"', "at least 31 days (the longest horizon)"],
    ),
    "a score cutoff that the training has seen past": (
        {
            "cutoffs": [
                {"cutoff_at": "2025-03-01", "role": "train"},
                {"cutoff_at": "2025-01-01", "role": "score"},
            ]
        },
        [
            'cutoffs[1].cutoff_at is "2025-01-01 00:00:00"',
            "a score cutoff after the train cutoff 2025-03-01 00:00:00 (cutoffs[0])",
            "would know the future",
        ],
    ),
    "key of no columns": ({"streams": [stream(customer_id=[])]}, ["streams[0].customer_id is []", "a list of names"]),
    "key of one column twice": (
        {"streams": [stream(activity_id=["visit_id", "visit_id"])]},
        ['streams[0].activity_id is ["visit_id", "visit_id"]', "a list of names"],
    ),
    "key of a number": (
        {"streams": [stream(activity_id=["visit_id", 5])]},
        ["streams[0].activity_id[1] is 5", "the name of a column"],
    ),
    "time of loading that is no name": ({"streams": [stream(loaded_at=5)]}, ["streams[0].loaded_at is 5", "a column"]),
    "relative category": (
        attributes({**PAGE, "relative": True}),
        ["attributes[0].relative is true", "true of a numerical attribute only ('page')"],
    ),
    "relative that is no truth": (
        attributes({"name": "seconds", "kind": "numerical", "relative": "yes"}),
        ['attributes[0].relative is "yes"', "true or false"],
    ),
    "relative attribute that exists": (
        attributes(
            {"name": "seconds", "kind": "numerical", "relative": True},
            {"name": "seconds_relative", "kind": "numerical"},
        ),
        ["attributes[0].relative is true", "no other attribute of the name 'seconds_relative'"],
    ),
    "profile that ends and does not begin": (
        {"profile": {"model": "stg_customers", "valid_to": "until"}},
        ["profile.valid_from is missing", 'because valid_to is "until"'],
    ),
    "horizon of a task of no days": (
        {"lifetime_value": {"horizon_days": 0}},
        ["lifetime_value.horizon_days is 0", "whole number of at least 1"],
    ),
    "horizon of a value that is none": (
        {"streams": [stream()], "lifetime_value": {"horizon_days": 365}},
        [
            "lifetime_value.horizon_days is 365",
            "an attribute of a stream with the role monetary",
            "leave this out",
        ],
    ),
    "horizon of a recommendation of nothing": (
        {"streams": [stream()], "recommendation": {"horizon_days": 365}},
        ["recommendation.horizon_days is 365", "role item, or recommendation.purchases, beside it", "leave this out"],
    ),
    "types of purchases of nothing": (
        {"streams": [stream()], "recommendation": {"activity_types": ["order"]}},
        ['recommendation.activity_types is ["order"]', "with the role item beside it", "leave this out"],
    ),
    "lifetime value with an unknown key": (
        {"lifetime_value": {"days": 3}},
        ["lifetime_value.days is 3", "horizon_days"],
    ),
    "nobody at risk": ({"at_risk_days": 0}, ["at_risk_days is 0", "whole number of at least 1"]),
    "no step between train cutoffs": ({"train_cutoff_step_days": 0}, ["train_cutoff_step_days is 0", "whole number"]),
    "known_at without loads": ({"known_at": True}, ["known_at is true", "a stream with loaded_at"]),
    "known_at that is no truth": ({"known_at": "yes"}, ['known_at is "yes"', "true or false"]),
    "possible times that end before they begin": (
        {"possible_from": "2030-01-01", "possible_until": "2020-01-01"},
        ['possible_until is "2020-01-01 00:00:00"', "after possible_from, which is 2030-01-01"],
    ),
    "too many columns": ({"content_values": 500}, ["content_values is 500", "at most 35", "7 categorical attributes"]),
    "period of a year": ({"rfm_period": "year"}, ['rfm_period is "year"', "day, week or month"]),
    "churn both by inactivity and observed": (
        {"churn": {"activity_types": ["order"], "observed": {"model": "stg_customers"}}},
        ["churn.observed is", "only one of activity_types"],
    ),
    "observed churn without model": (
        {"churn": {"observed": {}}},
        ["churn.observed.model is missing", "name of a model"],
    ),
    "observed churn with an unknown key": (
        {"churn": {"observed": {"model": "stg_customers", "date": "x"}}},
        ["churn.observed.date", "model, customer_id, occurred_at, is_churned"],
    ),
    "fraud without model": (
        {"fraud": {"alerts_per_day": 5}},
        ["fraud.model is missing", "name of a model"],
    ),
    "fraud with an unknown key": (
        {"fraud": {"model": "stg_fraud_reports", "date": "x"}},
        ["fraud.date", "model, customer_id, occurred_at, known_at, is_fraud, only_reported"],
    ),
    "fraud by a number": (
        {"fraud": {"model": "stg_fraud_reports", "is_fraud": 1}},
        ["fraud.is_fraud is 1", "the name of a boolean column"],
    ),
    "half an alert": (
        {"fraud": {"model": "stg_fraud_reports", "alerts_per_day": 0.5}},
        ["fraud.alerts_per_day is 0.5", "a whole number of at least 1"],
    ),
    "only reported without an answer": (
        {"fraud": {"model": "stg_fraud_reports", "only_reported": True}},
        ["fraud.only_reported is true", "unless is_fraud names a boolean column"],
    ),
    "observed churn by a number": (
        {"churn": {"observed": {"model": "stg_customers", "is_churned": 1}}},
        ["churn.observed.is_churned is 1", "the name of a boolean column"],
    ),
    "recommendation by activities and by a model": (
        {"recommendation": {"activity_types": ["order"], "purchases": {"model": "stg_customers"}}},
        ["recommendation.purchases is", "only one of activity_types"],
    ),
    "recommendation with an unknown key": (
        {"recommendation": {"exclude": True}},
        ["recommendation.exclude is true", "activity_types, purchases, exclude_bought"],
    ),
    "recommendation that excludes what is no truth": (
        {"recommendation": {"exclude_bought": "yes"}},
        ['recommendation.exclude_bought is "yes"', "true or false"],
    ),
    "purchases without a model": (
        {"recommendation": {"purchases": {"item": "product"}}},
        ["recommendation.purchases.model is missing", "name of a model"],
    ),
    "purchases of an item that is no name": (
        {"recommendation": {"purchases": {"model": "stg_customers", "item": 5}}},
        ["recommendation.purchases.item is 5", "the name of a column"],
    ),
    "purchases of a model beside known_at": (
        {
            "known_at": True,
            "streams": [stream(loaded_at="visited_at")],
            "recommendation": {"purchases": {"model": "stg_customers"}},
        },
        ["recommendation.purchases is", "no known_at beside it"],
    ),
    "recommendation by a learner of another task": (
        {"champions": {"recommendation": {"learner": "lightgbm", "representation": "als"}}},
        ['champions.recommendation.learner is "lightgbm"', "one of ranking"],
    ),
    "churn with an unknown key": ({"churn": {"types": ["order"]}}, ["churn.types", "activity_types"]),
    "churn types as text": ({"churn": {"activity_types": "order"}}, ["churn.activity_types is", "a list"]),
    "trained schema that is no text": ({"trained_schema": 5}, ["trained_schema is 5", "the name of a schema"]),
    "trained schema that is the target's": (
        {"trained_schema": "MAIN"},
        ['trained_schema is "MAIN"', "another schema than the target's own"],
    ),
    "a block on the command line": (
        {"caspr": {"as_of": "2025-01-01"}},
        ["the block stands on the command line", "expected its keys there without it, --vars '{as_of: 2025-01-01}'"],
    ),
    "trained schema without a name": ({"trained_schema": ""}, ['trained_schema is ""', "the name of a schema"]),
    "sequence of nothing": ({"sequence_length": 0}, ["sequence_length is 0", "whole number of at least 1"]),
    "possible times from nowhere": ({"possible_from": "never"}, ['possible_from is "never"', "a timestamp such as"]),
}

# A parse takes seconds, a message milliseconds: one process parses once and then calls with each set of variables the
# macro that a parse calls. That it does, the tests behind this show.
CHECK_ALL = """
import json, sys, yaml
from dbt.cli.main import dbtRunner

parsed = dbtRunner().invoke(["--quiet", "parse"])
assert parsed.success, parsed.exception
messages = {}
for name, variables in yaml.safe_load(sys.stdin).items():
    said = []
    runner = dbtRunner(manifest=parsed.result, callbacks=[lambda event: said.append(event.info.msg)])
    done = runner.invoke(["--quiet", "run-operation", "caspr.check_settings", "--vars", yaml.safe_dump(variables)])
    messages[name] = "" if done.success else "\\n".join(said)
print("MESSAGES" + json.dumps(messages))
"""


def run_in_one_process(project, program: str, cases):
    """What `program` prints as JSON of `cases`."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=yaml.safe_dump(cases, allow_unicode=True),
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
    )
    assert "MESSAGES" in done.stdout, done.stdout + done.stderr
    return json.loads(done.stdout.split("MESSAGES")[1])


@pytest.fixture(scope="module")
def messages(demo_project) -> dict[str, str]:
    cases = {name: variables for name, (variables, _) in WRONG.items()}
    return run_in_one_process(demo_project, CHECK_ALL, {"none wrong": {}, **cases})


def test_the_demo_settings_are_good(messages):
    assert messages["none wrong"] == ""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variable_is_named(messages, name):
    lines = {line.strip() for line in messages[name].splitlines() if "vars: caspr: " in line}
    assert len(lines) == 1, messages[name]
    for part in WRONG[name][1]:
        assert part in next(iter(lines))


def test_a_wrong_value_of_every_key_is_tried():
    names = re.findall("'([a-z_]+)'", (ROOT / "macros" / "setting_names.sql").read_text())
    tried = {re.split(r"[.\[ ]", parts[0])[0] for _, parts in WRONG.values()}
    assert set(names) - tried == set()


# Of each of these something else is read first: a hook, a model of streams, a model of cutoffs.
@pytest.mark.parametrize(
    "name", ["trained schema that is no text", "stream without activity type", "cutoff after as_of"]
)
def test_a_wrong_variable_stops_at_parse_time(demo_project, name):
    variables, parts = WRONG[name]
    done = demo_project.try_dbt("parse", "--vars", json.dumps(variables))
    assert done.returncode == 2
    assert f"vars: caspr: {parts[0]}" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_hook_of_a_parse_checks_every_setting(demo_project):
    manifest = json.loads((demo_project.scratch / "target" / "manifest.json").read_text())
    hooks = [node for node in manifest["nodes"].values() if "on-run-start" in node.get("tags", [])]
    assert [node["raw_code"] for node in hooks if "check_settings" in node["raw_code"]] == [
        "{{ caspr.check_settings() }}"
    ]


# One installing project for all that follows; its own block of variables changes, or --vars stand in for it.
VISITS = """
select
    1 as visit_id, 'c1' as customer_id, timestamptz '2025-01-01 00:30+00' as visited_at, 'home' as page,
    1735689600 as epoch, 'calm'::enum ('calm', 'cross') as mood, '101'::bit as flags,
    true as yes, 2::utinyint as tiny, 3::uhugeint as huge, 4.5::decimal(12, 2) as cents, 5.5::float as half
"""


@pytest.fixture(scope="module")
def installing(tmp_path_factory):
    return install_package(tmp_path_factory.mktemp("installing") / "project", {}, {"visits": VISITS})


def test_the_package_says_what_it_needs(installing):
    done = installing.try_dbt("parse")
    assert done.returncode == 2
    assert "vars: caspr: streams is missing; expected a list of streams" in done.stdout


def test_an_unknown_model_is_named(installing):
    done = installing.try_dbt("parse", "--vars", json.dumps({"streams": [stream(model="vists")]}))
    assert done.returncode == 2
    assert "depends on a node named 'vists' in package or project 'installing' which was not found" in done.stdout


def test_a_slip_in_a_key_is_named(installing):
    project = installing.folder / "dbt_project.yml"
    good = project.read_text()
    project.write_text(good.replace("caspr: {}", "caspr: {horizon_day: 30}"))
    done = installing.try_dbt("parse")
    project.write_text(good)
    assert done.returncode == 2
    assert "vars: caspr: horizon_day is 30; expected one of these keys: streams, profile" in done.stdout


def with_vars(installing, **variables):
    """Parses with `variables` under vars: in dbt_project.yml, as they stand."""
    project = installing.folder / "dbt_project.yml"
    good = project.read_text()
    project.write_text(yaml.safe_dump({**yaml.safe_load(good), "vars": variables}))
    done = installing.try_dbt("parse")
    project.write_text(good)
    return done


def test_a_variable_beside_the_block_does_not_slip_in(installing):
    streams = [stream(model="visits")]
    done = with_vars(installing, caspr={"streams": streams}, as_of="2001-01-01")
    assert done.returncode == 2
    assert "vars: caspr: as_of is missing; expected the key there" in done.stdout
    assert (
        "at the top of vars (2001-01-01) would be read instead: move it under caspr, or write as_of: null"
        in done.stdout
    )
    # said not to be meant; and of a project without a block
    for variables in ({"caspr": {"streams": streams, "as_of": None}, "as_of": "never"}, {"streams": streams}):
        assert with_vars(installing, **variables).returncode == 0


def test_numbers_of_every_type_are_numbers(installing):
    names = ["yes", "tiny", "huge", "cents", "half", "epoch"]
    numbers = [{"name": name, "kind": "numerical"} for name in names]
    variables = json.dumps({"streams": [stream(model="visits", attributes=numbers)]})
    installing.dbt("run", "--select", "+activity_log", "--vars", variables)
    assert installing.rows(f"select {', '.join(names)} from activity_log") == [(1.0, 2.0, 3.0, 4.5, 5.5, 1735689600.0)]
    # the next test wants to see no mart
    with installing.connect() as connection:
        for mart in ("activity_log", "customer_fingerprints", "rejected_activities"):
            connection.execute(f"drop table {mart}")


# The first stops a whole `dbt build`, in a process of its own.
WRONG_COLUMNS = [
    (
        {"occurred_at": "visit_time"},
        "vars: caspr: streams[0].occurred_at is \"visit_time\"; expected a column of model 'visits', "
        "which has: visit_id, customer_id, visited_at, page, epoch",
    ),
    (
        {"occurred_at": "page"},
        "vars: caspr: streams[0].occurred_at is \"page\"; expected a column of times; in model 'visits' its "
        "type is VARCHAR (cast it there)",
    ),
    (
        {"occurred_at": "epoch"},
        "vars: caspr: streams[0].occurred_at is \"epoch\"; expected a column of times; in model 'visits' its "
        "type is INTEGER (cast it there)",
    ),
    (
        {"attributes": [{"name": "seite", "column": "page", "kind": "numerical"}]},
        'vars: caspr: streams[0].attributes[0].column is "page"; expected a column of numbers; '
        "in model 'visits' its type is VARCHAR",
    ),
    (
        {"attributes": [{"name": "mood", "kind": "numerical"}]},
        "in model 'visits' its type is ENUM('calm', 'cross')",
    ),
    ({"attributes": [{"name": "flags", "kind": "numerical"}]}, "in model 'visits' its type is BIT"),
    (
        {"customer_id": ["customer_id", "country"]},
        "vars: caspr: streams[0].customer_id is \"country\"; expected a column of model 'visits', which has: ",
    ),
    (
        {"loaded_at": "epoch"},
        "vars: caspr: streams[0].loaded_at is \"epoch\"; expected a column of times; in model 'visits' its "
        "type is INTEGER",
    ),
]

# As CHECK_ALL: the columns are looked at when the first model of the activities runs.
RUN_ALL = """
import json, sys, yaml
from dbt.cli.main import dbtRunner

good, *wrong = ["--vars=" + json.dumps({"streams": [stream]}) for stream in yaml.safe_load(sys.stdin)]
parsed = dbtRunner().invoke(["--quiet", "parse", good])
assert parsed.success, parsed.exception
assert dbtRunner(manifest=parsed.result).invoke(["--quiet", "run", "--select", "visits", good]).success
messages = []
for variables in wrong:
    said = []
    runner = dbtRunner(manifest=parsed.result, callbacks=[lambda event: said.append(event.info.msg)])
    done = runner.invoke(["--quiet", "run", "--select", "rejected_activities", variables])
    messages.append("" if done.success else "\\n".join(said))
print("MESSAGES" + json.dumps(messages))
"""


def tables_of(installing) -> list[str]:
    return [name for (name,) in installing.rows("select table_name from duckdb_tables() where schema_name = 'main'")]


def test_a_wrong_column_stops_before_a_mart_is_built(installing):
    changes, message = WRONG_COLUMNS[0]
    done = installing.try_dbt("build", "--vars", json.dumps({"streams": [stream(model="visits", **changes)]}))
    assert done.returncode == 1
    assert message in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert tables_of(installing) == []


def test_every_wrong_column_is_named(installing):
    streams = [stream(model="visits", **changes) for changes, _ in [({}, ""), *WRONG_COLUMNS]]
    done = run_in_one_process(installing, RUN_ALL, streams)
    assert tables_of(installing) == []
    for (_, message), said in zip(WRONG_COLUMNS, done, strict=True):
        assert message in said and "Traceback" not in said


def test_a_zoned_time_is_utc_whatever_the_zone_of_the_machine(installing, monkeypatch):
    found = set()
    for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
        monkeypatch.setenv("TZ", zone)
        variables = json.dumps({"streams": [stream(model="visits")]})
        installing.dbt("run", "--select", "+activity_log", "cutoffs", "--vars", variables)
        times = "select occurred_at::text, (select max(cutoff_at)::text from cutoffs) from activity_log"
        found |= set(installing.rows(times))
    assert found == {("2025-01-01 00:30:00", "2025-01-02 00:00:00")}


BAD = {
    "bad_leak": "select cast(null as timestamp) as occurred_at, timestamp '2025-01-01' as cutoff_at "
    "union all select timestamp '2025-01-01', timestamp '2025-01-01'",
    "bad_positions": "select 'c1' as customer_id, 1 as position union all select 'c1', 3",
    "bad_keys": "select cast(null as text) as customer_id, 1 as n union all select null, 1",
    "bad_nulls": "select 'c1' as customer_id, 1 as n union all select null, 1 union all select 'c2', null",
}
BAD_YAML = """
models:
  - name: bad_leak
    columns: [{name: occurred_at, data_tests: [caspr.no_future_leakage]}]
  - name: bad_positions
    columns:
      - name: position
        data_tests: [{caspr.contiguous_positions: {arguments: {group_by: [customer_id]}}}]
  - name: bad_keys
    data_tests: [{caspr.unique_over: {arguments: {columns: [customer_id, n]}}}]
  - name: bad_nulls
    data_tests: [{caspr.no_nulls: {arguments: {columns: [customer_id, n]}}}]
"""


def test_the_generic_tests_can_fail(tmp_path):
    settings = {"streams": [stream(model="visits")]}
    project = install_package(tmp_path / "project", settings, {**BAD, "visits": VISITS})
    (project.folder / "models" / "bad.yml").write_text(BAD_YAML)
    done = project.try_dbt("build", "--select", *BAD)
    assert done.returncode == 1
    found = {"no_future_leakage_bad_leak": 2, "contiguous_positions_bad": 1, "unique_over_bad": 1, "no_nulls_bad": 2}
    for name, failures in found.items():
        assert re.search(rf"FAIL {failures} caspr_{name}", done.stdout), done.stdout

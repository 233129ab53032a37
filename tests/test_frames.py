"""Bundle.embed: what a data scientist holds in a frame gives the vectors that the marts give."""

import datetime as dt
import re

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from caspr_train import Bundle
from caspr_train.bundle import shape_of
from caspr_train.config import preset
from caspr_train.encoding import Encoding
from caspr_train.errors import DataError, UsageError
from caspr_train.frames import activities_of, latest
from caspr_train.model import Caspr
from caspr_train.schema import Attribute, Schema
from tests.frames import SCHEMA, marts, restless
from tests.projects import ROOT
from tests.test_road import TRAIN, make_shop

RELATIVE = Schema(
    (*SCHEMA.attributes[:3], Attribute("amount_relative", "sequence", "numerical", None, "amount_relative"))
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A shop whose model is trained and whose embeddings are loaded; amounts are also relative to the customer's."""
    project = make_shop(tmp_path_factory.mktemp("shop"), customers=120)
    settings = project.folder / "dbt_project.yml"
    text = settings.read_text()
    amount = "{name: amount, kind: numerical, role: monetary}"
    assert amount in text
    settings.write_text(text.replace(amount, amount.replace("}", ", relative: true}")))
    marts = ("+activity_sequences", "+customer_profiles", "activity_attributes", "customer_embeddings")
    project.dbt("build", "--quiet", "--exclude-resource-type", "test", "unit_test", "--select", *marts)
    project.caspr(*TRAIN, "--epochs", "1")
    return project


@pytest.fixture(scope="module")
def trained(shop):
    (folder,) = (shop.folder / "runs").glob("*/bundle")
    return Bundle.load(folder)


@pytest.fixture(scope="module")
def log(shop):
    return shop.frame("select * from activity_log").sample(frac=1, random_state=1)  # in no order


def loaded(shop, cutoff):
    sql = f"select customer_id, embedding from customer_embeddings where cutoff_at = '{cutoff}' order by customer_id"
    rows = shop.rows(sql)
    return [row[0] for row in rows], np.array([row[1] for row in rows], np.float32)


@pytest.mark.parametrize("role", ["train", "evaluate", "score"])
@pytest.mark.parametrize("given", ["as in the log", "derived"])
def test_the_log_gives_the_vectors_that_were_loaded(shop, trained, log, role, given):
    ((cutoff,),) = shop.rows(f"select cutoff_at from cutoffs where role = '{role}'")
    profiles = shop.frame(f"select * from customer_profiles where cutoff_at = '{cutoff}'")
    if given == "derived":
        log = log.drop(columns=["seconds_since_previous", "amount_relative"])
    vectors = trained.embed(log, cutoff, profiles)
    customers, expected = loaded(shop, cutoff)
    assert vectors.index.tolist() == customers and vectors.index.name == "customer_id"
    assert vectors.columns.tolist() == [f"embedding_{i}" for i in range(expected.shape[1])]
    np.testing.assert_allclose(vectors.to_numpy(), expected, rtol=0, atol=1e-6)


def test_what_is_derived_is_what_the_log_holds(shop, trained, log):
    order = ["customer_id", "activity_number"]
    log = log.sort_values(order, ignore_index=True)
    bare = log.sample(frac=1, random_state=2).drop(columns=["seconds_since_previous", "amount_relative"])
    derived = activities_of(bare, trained.schema).to_pandas()
    assert log["amount_relative"].notna().sum() > 100
    assert log.duplicated(["customer_id", "occurred_at"]).sum() > 100  # ties are what the order is for
    for name in ("customer_id", "activity_id", "seconds_since_previous", "amount_relative"):
        np.testing.assert_array_equal(derived[name].to_numpy(), log[name].to_numpy(), err_msg=name)


def test_by_default_the_cutoff_is_the_start_of_the_day_after_the_last_activity(shop, trained, log):
    ((score,),) = shop.rows("select cutoff_at from cutoffs where role = 'score'")
    pd.testing.assert_frame_equal(trained.embed(log), trained.embed(log, score))
    assert not trained.embed(log).equals(trained.embed(log, score + dt.timedelta(days=30)))


def test_rows_of_activity_sequences_are_a_frame_too(shop, trained):
    ((cutoff,),) = shop.rows("select cutoff_at from cutoffs where role = 'evaluate'")
    rows = shop.frame(f"select * from activity_sequences where cutoff_at = '{cutoff}' order by customer_id, position")
    profiles = shop.frame(f"select * from customer_profiles where cutoff_at = '{cutoff}'")
    vectors = trained.embed(rows, cutoff, profiles).to_numpy()
    np.testing.assert_allclose(vectors, loaded(shop, cutoff)[1], rtol=0, atol=1e-6)
    several = shop.frame("select * from activity_sequences")
    with pytest.raises(DataError, match=r"rows of 3 cutoffs \(column cutoff_at\)"):
        trained.embed(several, cutoff)


def test_dictionaries_of_string_views_are_texts(trained, log):
    """As polars hands over its Categorical and Enum columns."""
    expected = trained.embed(log)
    table = pa.Table.from_pandas(log, preserve_index=False)
    for name in ("customer_id", "activity_type", "product"):
        codes = table[name].combine_chunks().dictionary_encode()
        viewed = pa.DictionaryArray.from_arrays(codes.indices, codes.dictionary.cast(pa.string_view()))
        table = table.set_column(table.column_names.index(name), name, viewed)
    pd.testing.assert_frame_equal(trained.embed(table), expected, check_exact=True)


def test_the_lines_of_the_guide_run_as_they_are_printed(shop, trained, monkeypatch):
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "BUNDLE.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(shop.folder)
    names = {}
    exec(lines.replace("0123456789ab", trained.model_version), names)
    ids, vectors = loaded(shop, "2025-07-01")
    assert list(names["vectors"].index) == ids
    np.testing.assert_allclose(names["vectors"].to_numpy(), vectors, rtol=0, atol=1e-6)


def test_a_train_cutoff_before_the_first_activity_teaches_nothing(shop, trained):
    """dbt builds it with a warning; the encoder learns from the first that has customers, as it did."""
    with shop.connect() as connection:
        early = "select * replace (timestamp '2001-01-01' as cutoff_at) from cutoffs where role = 'train'"
        connection.execute(f"insert into cutoffs {early}")
    try:
        said = shop.caspr(*TRAIN, "--epochs", "1")
    finally:
        with shop.connect() as connection:
            connection.execute("delete from cutoffs where cutoff_at = timestamp '2001-01-01'")
    assert "trained already" in said and trained.model_version in said


def test_info_of_the_latest_run_says_what_it_was_made_of(shop, trained):
    said = " ".join(shop.caspr("info").split())
    ((train,),) = shop.rows("select cutoff_at from cutoffs where role = 'train'")
    ((watermark,),) = shop.rows("select max(occurred_at) from activity_sequences")
    for wanted in (
        f"model_version {trained.model_version}",
        f"train_cutoff_at {train.isoformat()}",
        f"data_watermark_at {watermark.isoformat()}",
        f"dbt_invocation_id {trained.lineage['dbt_invocation_id']}",
        "batch_size 64 (preset: ",
        "epochs 1 (preset: none)",
        "amount_relative numerical, signed_log, mean ",
        "metrics epochs 1",
    ):
        assert wanted in said
    shop.caspr_fails(1, r"models is no bundle", "info", "models")


# -- What needs no dbt: an untrained model on frames made here.


def bundle_of(schema, activities, profiles):
    config = preset("default", sequence_length=5)
    encoding = Encoding(schema, config.number_transform, config.minimum_count).fit(activities, profiles)
    return Bundle("0123456789ab", config, encoding, restless(Caspr(config, shape_of(encoding))), {}, {})


@pytest.fixture(scope="module")
def bundle():
    return bundle_of(SCHEMA, *marts(50))


CUTOFF = dt.datetime(2025, 1, 1)


def frame(customers: int = 12, seed: int = 3) -> pd.DataFrame:
    rows = marts(customers, seed=seed)[0].to_pandas()
    rows["occurred_at"] = rows.cutoff_at - pd.to_timedelta(rows.seconds_before_cutoff.round(), unit="s")
    return rows[["customer_id", "occurred_at", "activity_type", "product", "amount"]]


def test_rows_at_or_after_the_cutoff_never_enter(bundle):
    before = frame()
    late = before.iloc[:8].assign(occurred_at=[CUTOFF, CUTOFF + dt.timedelta(microseconds=1)] * 4, amount=1e6)
    after = before.iloc[:2].assign(customer_id="only later", occurred_at=CUTOFF)
    late["seconds_since_previous"] = before["seconds_since_previous"] = np.nan
    pd.testing.assert_frame_equal(bundle.embed(pd.concat([late, before, after]), CUTOFF), bundle.embed(before, CUTOFF))
    just_before = late.assign(occurred_at=CUTOFF - dt.timedelta(microseconds=1))
    assert not bundle.embed(pd.concat([before, just_before]), CUTOFF).equals(bundle.embed(before, CUTOFF))


def test_only_the_latest_t_enter_and_the_gap_before_them(bundle):
    rows = activities_of(frame(), SCHEMA)
    cut = latest(rows, CUTOFF, 5).to_pandas()
    assert cut.groupby("customer_id").position.max().max() == 5 and (cut.seconds_before_cutoff > 0).all()
    whole = latest(rows, CUTOFF, 10**6).to_pandas()
    expected = whole.groupby("customer_id").tail(5).reset_index(drop=True)
    pd.testing.assert_frame_equal(cut.drop(columns="position"), expected.drop(columns="position"))
    assert cut.seconds_since_previous.isna().sum() == whole.seconds_since_previous.isna().sum() - sum(
        whole.groupby("customer_id").size() > 5
    )


def test_pandas_arrow_and_duckdb_are_embedded_alike(bundle):
    pandas = frame()
    expected = bundle.embed(pandas, CUTOFF)
    arrow = pa.Table.from_pandas(pandas, preserve_index=False)
    for other in (
        arrow,
        duckdb.sql("from arrow"),
        pandas.assign(
            product=pandas["product"].astype("category"), activity_type=pandas.activity_type.astype("object")
        ),
        pandas.assign(occurred_at=pandas.occurred_at.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
        pandas.set_index("customer_id"),
        pandas.assign(unused=[object()] * len(pandas)),
    ):
        pd.testing.assert_frame_equal(bundle.embed(other, CUTOFF), expected)
    for instant in ("2025-01-01", dt.date(2025, 1, 1), "2025-01-01T09:00+09:00", np.datetime64("2025-01-01")):
        pd.testing.assert_frame_equal(bundle.embed(arrow, instant), expected)


def test_keys_that_are_whole_numbers_are_ordered_as_text(bundle):
    rows = frame(12)
    rows["customer_id"] = rows.customer_id.str[1:].astype(int)
    assert bundle.embed(rows, CUTOFF).index.tolist() == sorted(map(str, range(12)))


def test_profiles_are_matched_by_customer_and_may_be_missing(bundle):
    rows = frame()
    names = sorted(set(rows.customer_id))
    profiles = pd.DataFrame({"customer_id": names[::-1], "country": "DE", "age": np.arange(len(names)) * 5.0})
    known, without = bundle.embed(rows, CUTOFF, profiles), bundle.embed(rows, CUTOFF)
    assert (known.to_numpy() != without.to_numpy()).any(axis=1).all()
    some = bundle.embed(rows, CUTOFF, profiles.set_index("customer_id").drop(names[0]))
    np.testing.assert_allclose(some.loc[names[0]], without.loc[names[0]], rtol=1e-6)
    np.testing.assert_allclose(some.loc[names[1:]], known.loc[names[1:]], rtol=1e-6)
    other = profiles.assign(age=profiles.age.to_numpy()[::-1])
    assert not bundle.embed(rows, CUTOFF, other).equals(known)
    with pytest.raises(DataError, match="1 customers have more than one row, among them c000003"):
        bundle.embed(rows, CUTOFF, pd.concat([profiles, profiles[profiles.customer_id == "c000003"]]))
    with pytest.raises(DataError, match="profiles: no column age; found customer_id, country"):
        bundle.embed(rows, CUTOFF, profiles[["customer_id", "country"]])


def test_what_happened_at_one_instant_is_ordered_by_stream_and_then_by_the_bytes_of_the_key():
    rows = pd.DataFrame(
        {
            "customer_id": "c",
            "occurred_at": dt.datetime(2024, 5, 5),
            "activity_type": list("dcba"),
            "product": None,
            "amount": 1.0,
            "stream_rank": [2, 1, 1, 1],
            "activity_id": [1, 9, 10, 2],
        }
    )
    assert activities_of(rows, SCHEMA)["activity_type"].to_pylist() == ["b", "a", "c", "d"]
    rows = rows.drop(columns=["stream_rank", "activity_id"])
    assert activities_of(rows, SCHEMA)["activity_type"].to_pylist() == ["d", "c", "b", "a"]  # the frame's order


def test_a_relative_number_knows_strictly_earlier_instants_of_its_customer_only():
    day = dt.timedelta(days=1)
    amounts = {
        "a": [(0, 4.0), (1, 2.0), (1, 6.0), (2, 8.0)],  # the two of day 1 do not know each other
        "b": [(1, 1.0), (2, 1e101), (3, 3.0)],
        "c": [(0, 1.0), (1, -1.0), (2, 5.0)],  # at day 2 the mean is zero
        "d": [(0, np.nan), (1, 5.0)],
        "e": [(0, 3.0), (1, 1.0)],
        "f": [(0, 19.99), (0, -9.99), (0, -10.0), (1, 5.0)],  # whose sum in doubles is not zero
    }
    rows = pd.DataFrame(
        [(customer, *amount) for customer, given in amounts.items() for amount in given],
        columns=["customer_id", "day", "amount"],
    )
    rows = rows.assign(occurred_at=dt.datetime(2024, 1, 1) + rows.pop("day") * day, activity_type="x", product="y")
    found = activities_of(rows, RELATIVE)["amount_relative"].to_pylist()
    a, b, c, d, e = [None, 0.5, 1.5, 2.0], [None, None, 3.0], [None, -1.0, None], [None, None], [None, 0.333333]
    assert found == a + b + c + d + e + [None] * 4
    given = activities_of(rows.assign(amount_relative=7.0), RELATIVE)["amount_relative"].to_pylist()
    assert given == [7.0] * len(rows)
    own = Schema(tuple(attribute for attribute in RELATIVE.attributes if attribute.name != "amount"))
    with pytest.raises(DataError, match="no column amount_relative"):
        activities_of(rows, own)


@pytest.mark.parametrize(
    "change, said",
    [
        (
            lambda f: f.drop(columns="product"),
            "the frame: no column product; found customer_id, occurred_at, activity_ty",
        ),
        (lambda f: f.assign(amount="12"), r"sequence amount \(column amount\) is of type .*string; expected numbers"),
        (
            lambda f: f.assign(product=1.0),
            r"sequence product \(column product\) is of type double; .*astype\('Int64'\)",
        ),
        (lambda f: f.assign(product=[object()] * len(f)), "sequence product .* of no one type"),
        (lambda f: f.assign(occurred_at="2024-01-01"), "occurred_at is of type .*string; expected timestamps"),
        (lambda f: f.assign(customer_id=1.5), "customer_id is of type double; expected text"),
        (lambda f: f.assign(customer_id=None), "customer_id is null in"),
        (lambda f: f.assign(occurred_at=pd.NaT), "occurred_at is null in .* leave these rows out"),
        (lambda f: f.assign(activity_type=None), "activity_type is null in"),
        (lambda f: f.iloc[:0], "the frame has no rows"),
        (lambda f: f.assign(occurred_at=CUTOFF), "none of the frame's .* lies before cutoff_at 2025-01-01"),
    ],
)
def test_what_cannot_be_embedded_is_one_line(bundle, change, said):
    with pytest.raises(DataError, match=said) as raised:
        bundle.embed(change(frame()), CUTOFF)
    assert "\n" not in str(raised.value)


def test_what_is_no_frame_and_no_instant(bundle):
    with pytest.raises(UsageError, match="the frame is of type int; expected a pandas DataFrame or a pyarrow Table"):
        bundle.embed(7, CUTOFF)
    for wrong in ("tomorrow?", [], float("nan"), ""):
        with pytest.raises(UsageError, match=r"cutoff_at is .* expected an instant such as"):
            bundle.embed(frame(), wrong)


def test_nothing_but_nulls_and_what_training_never_saw_is_embedded(bundle):
    rows = frame().assign(activity_type="never seen", product=None, amount=np.inf)
    assert np.isfinite(bundle.embed(rows, CUTOFF).to_numpy()).all()

"""The example on real data: the cleaning of the whole file against pandas, then the whole road on 400 customers."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from caspr_train.tasks.representations import BLOCKS
from tests.projects import EXAMPLES, OWN_UNIT_TESTS, SHARED_DATA, Project, install_example, make_without_data

EXAMPLE = EXAMPLES / "online_retail"
DATA = SHARED_DATA / "online_retail_ii.parquet"

HORIZON = pd.Timedelta(days=90)
STAGING = ["stg_invoice_lines", "stg_invoices", "stg_customers"]
NO_PRODUCTS = {
    "POST",
    "DOT",
    "M",
    "C2",
    "C3",
    "D",
    "S",
    "B",
    "ADJUST",
    "ADJUST2",
    "BANK CHARGES",
    "AMAZONFEE",
    "CRUK",
    "TEST001",
    "TEST002",
    "GIFT",
    "23444",
    "23574",
    "22016",
}

needs_data = pytest.mark.skipif(
    not DATA.is_file(), reason="no ../shared/data/online_retail_ii.parquet beside the repository (UCI Online Retail II)"
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    return install_example("online_retail", tmp_path_factory.mktemp("house"))


def example(folder: Path, scratch: Path, data: Path) -> Project:
    scratch.mkdir()
    return Project(folder, scratch, {"online_retail_path": str(data)}, unit_tests=True)


@pytest.fixture(scope="module")
def whole(installed) -> Project:
    """Staging, with its data tests and unit tests, on the whole file."""
    project = example(installed, installed / "whole", DATA)
    project.dbt("build", "--select", *STAGING)
    return project


@pytest.fixture(scope="module")
def sample(installed) -> Project:
    """Everything, on 400 customers and a tenth of the invoices without one."""
    data = installed / "sample.parquet"
    duckdb.connect().execute(f"""
        copy (
            select * from '{DATA}'
            where customer_id in (
                select customer_id from '{DATA}' where customer_id is not null
                group by customer_id order by md5(customer_id::varchar) limit 400
            ) or (customer_id is null and invoice_no like '%0')
        ) to '{data}' (format parquet)
    """)
    project = example(installed, installed / "sample", data)
    project.dbt("build", *OWN_UNIT_TESTS)
    project.caspr("--gpus", "0", "--epochs", "1", "--preset", "default")
    project.dbt("build", "--select", "source:caspr_trained+", *OWN_UNIT_TESTS)
    return project


def lines_by_pandas(data: Path | str) -> pd.DataFrame:
    """The lines that the overlap leaves, with `dropped_because`; written apart from the SQL, and otherwise."""
    raw = pd.read_parquet(data)
    first, second = (raw[raw.sheet == sheet] for sheet in ("2009-2010", "2010-2011"))
    lines = pd.concat([first, second[~second.invoice_no.isin(set(first.invoice_no))]], ignore_index=True)
    lines["product"] = lines.stock_code.str.strip().str.upper()
    no_product = lines["product"].isin(NO_PRODUCTS) | lines["product"].str.startswith("GIFT_")
    rules = [
        ("adjustment", lines.invoice_no.str[0] == "A"),
        ("no customer", lines.customer_id.isna()),
        ("no product", no_product),
        ("no price", lines.price <= 0),
    ]
    lines["dropped_because"] = np.select([rule for _, rule in rules], [name for name, _ in rules], "")
    lines["mills"] = (lines.price * 1000).round().astype("int64") * lines.quantity
    return lines


def invoices_by_pandas(lines: pd.DataFrame) -> pd.DataFrame:
    kept = lines[lines.dropped_because == ""]
    turnover = kept.assign(mills=kept.mills.abs()).groupby(["invoice_no", "product"]).mills.sum().reset_index()
    lead = turnover.sort_values(["invoice_no", "mills", "product"], ascending=[True, False, True])
    lead = lead.drop_duplicates("invoice_no").set_index("invoice_no")["product"]
    invoices = kept.groupby("invoice_no").agg(
        customer_id=("customer_id", "first"),
        amount=("mills", "sum"),
        lines=("mills", "size"),
        products=("product", "nunique"),
        quantity=("quantity", "sum"),
        invoiced_at=("invoice_date", "max"),
    )
    invoices["customer_id"] = invoices.customer_id.astype("int64").astype(str)
    invoices["amount"] /= 1000
    invoices["activity_type"] = np.where(invoices.index.str.startswith("C"), "cancellation", "purchase")
    invoices["lead_product"] = lead
    return invoices.reset_index()


def same(found: pd.DataFrame, expected: pd.DataFrame, keys: list[str]) -> None:
    """Equal rows, whatever their order and the width of their types; money to a millionth."""
    found, expected = (f[expected.columns].sort_values(keys, ignore_index=True) for f in (found, expected))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=0, atol=1e-6)


@needs_data
def test_the_lines_of_the_whole_file_are_cleaned_as_the_readme_says(whole):
    lines = whole.frame("select coalesce(dropped_because, '') as rule from stg_invoice_lines")
    counts = lines.rule.value_counts().to_dict()
    assert counts == {"": 805_752, "adjustment": 6, "no customer": 235_281, "no product": 3_747, "no price": 61}
    assert counts == lines_by_pandas(DATA).dropped_because.value_counts().to_dict()
    readme = (EXAMPLE / "README.md").read_text()
    assert all(f"{n:,}" in readme for n in counts.values())


@needs_data
def test_the_invoices_of_the_whole_file_are_those_of_pandas(whole):
    found = whole.frame("select * from stg_invoices")
    same(found, invoices_by_pandas(lines_by_pandas(DATA)), ["invoice_no"])
    assert found.activity_type.value_counts().to_dict() == {"purchase": 36_594, "cancellation": 7_281}
    assert found.customer_id.nunique() == 5_875


@needs_data
def test_labels_are_those_of_pandas(sample):
    invoices = invoices_by_pandas(lines_by_pandas(sample.variables["online_retail_path"]))
    as_of = invoices.invoiced_at.max().normalize() + pd.Timedelta(days=1)
    churn, value = [], []
    for cutoff in (as_of - HORIZON, as_of - 2 * HORIZON):
        known = invoices[invoices.invoiced_at < cutoff].customer_id.unique()
        after = invoices[(invoices.invoiced_at >= cutoff) & (invoices.invoiced_at < cutoff + HORIZON)]
        buying = set(after[after.activity_type == "purchase"].customer_id)
        revenue = after.groupby("customer_id").amount.sum().reindex(known, fill_value=0.0)
        rows = pd.DataFrame({"customer_id": known, "cutoff_at": cutoff})
        churn.append(rows.assign(is_churned=[customer not in buying for customer in known]))
        value.append(rows.assign(future_revenue=revenue.to_numpy()))
    keys = ["customer_id", "cutoff_at"]
    same(sample.frame("select * from churn_labels"), pd.concat(churn), keys)
    same(sample.frame("select * from lifetime_value_labels"), pd.concat(value), keys)
    roles = sample.frame("select role, cutoff_at from cutoffs").set_index("role").cutoff_at
    assert roles.to_dict() == {"score": as_of, "evaluate": as_of - HORIZON, "train": as_of - 2 * HORIZON}


@needs_data
def test_sequences_keep_the_law_of_time_and_leave_nothing_out(sample):
    sequences = sample.frame("select * from activity_sequences order by customer_id, cutoff_at, position")
    assert (sequences.occurred_at < sequences.cutoff_at).all()
    assert (sequences.seconds_before_cutoff > 0).all()
    grouped = sequences.groupby(["customer_id", "cutoff_at"])
    assert (grouped.occurred_at.diff().dropna() >= pd.Timedelta(0)).all()
    invoices = invoices_by_pandas(lines_by_pandas(sample.variables["online_retail_path"]))
    before = invoices.merge(sequences[["cutoff_at"]].drop_duplicates(), how="cross").query("invoiced_at < cutoff_at")
    expected = before.groupby(["customer_id", "cutoff_at"]).size().clip(upper=60)
    assert grouped.size().to_dict() == expected.to_dict()


@needs_data
def test_performance_holds_every_representation_for_both_learners(sample):
    auroc = sample.frame("select * from model_performance where metric = 'auroc'")
    values = auroc.set_index(["task", "learner", "representation"]).sort_index().value
    for task in ("churn", "lifetime_value"):
        for learner in ("random_forest", "lightgbm"):
            assert sorted(values[task, learner].index) == sorted(BLOCKS)
            # Even 400 customers tell that who bought lately will buy again; 0.5 is chance.
            assert values[task, learner, "rfm"] > 0.6
    assert values.between(0, 1).all()
    scored = sample.frame("select count(distinct customer_id) as n from churn_predictions").n[0]
    assert scored == sample.frame("select count(*) as n from stg_customers").n[0]


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path):
    assert "UCI Online Retail II" in make_without_data("online_retail", tmp_path)

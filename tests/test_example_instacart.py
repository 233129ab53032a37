"""The example of groceries without dates, on made-up files of exactly the columns that Kaggle documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.projects import OWN_UNIT_TESTS, Project, install_example, make_without_data

LAST_DAY = pd.Timestamp("2016-12-31")
AISLES = ["prepared soups salads", "soft drinks", "milk", "fresh fruits", "bread", "cookies cakes"]
DEPARTMENTS = ["deli", "beverages", "dairy eggs", "produce", "bakery", "snacks"]


def made_up_files() -> dict[str, pd.DataFrame]:
    """160 users with 4 to 12 orders of a seed, and user 900 by hand."""
    draw = np.random.default_rng(7)
    orders, baskets = [], []
    for user in range(1, 161):
        count = int(draw.integers(4, 13))
        # Half of the users order often, half seldom: something to learn.
        gaps = draw.integers(2, 10, count) if user % 2 else draw.integers(12, 31, count)
        for number in range(1, count + 1):
            order = user * 100 + number
            eval_set = "prior" if number < count else "train" if user % 3 else "test"
            orders.append((order, user, eval_set, number, number % 7, 9, gaps[number - 1]))
            products = draw.choice(np.arange(1, 13), size=int(draw.integers(1, 6)), replace=False)
            baskets += [(order, int(product), place, 0) for place, product in enumerate(products, start=1)]
    # By hand: 12 and 30 days back from the last order, of which nothing but its time is published.
    orders += [(90001, 900, "prior", 1, 3, 8, 0), (90002, 900, "prior", 2, 6, 23, 18)]
    orders += [(90003, 900, "test", 3, 4, 7, 12)]
    baskets += [(90001, 3, 1, 0), (90001, 9, 2, 0), (90001, 2, 3, 0), (90002, 2, 1, 1), (90002, 4, 2, 0)]

    columns = "order_id user_id eval_set order_number order_dow order_hour_of_day days_since_prior_order"
    orders = pd.DataFrame(orders, columns=columns.split())
    orders["order_hour_of_day"] = orders.order_hour_of_day.map("{:02d}".format)
    orders["days_since_prior_order"] = orders.days_since_prior_order.astype(float).where(orders.order_number > 1)
    baskets = pd.DataFrame(baskets, columns=["order_id", "product_id", "add_to_cart_order", "reordered"])
    baskets = baskets.merge(orders[["order_id", "eval_set"]])
    products = pd.DataFrame({"product_id": range(1, 13), "product_name": [f'Product, "{n}"' for n in range(1, 13)]})
    products["aisle_id"] = products["department_id"] = (products.product_id - 1) % 6 + 1
    numbers = range(1, 7)
    return {
        "orders": orders.sample(frac=1, random_state=7),
        "order_products__prior": baskets[baskets.eval_set == "prior"].drop(columns="eval_set"),
        "order_products__train": baskets[baskets.eval_set == "train"].drop(columns="eval_set"),
        "products": products,
        "aisles": pd.DataFrame({"aisle_id": numbers, "aisle": AISLES}),
        "departments": pd.DataFrame({"department_id": numbers, "department": DEPARTMENTS}),
    }


@pytest.fixture(scope="module")
def files() -> dict[str, pd.DataFrame]:
    return made_up_files()


@pytest.fixture(scope="module")
def built(tmp_path_factory, files) -> Project:
    """Everything, the scores on RFM included."""
    folder = install_example("instacart", tmp_path_factory.mktemp("house"))
    data = folder / "made_up"
    data.mkdir()
    for name, rows in files.items():
        rows.to_csv(data / f"{name}.csv", index=False)
    scratch = Path(tmp_path_factory.mktemp("scratch"))
    project = Project(folder, scratch, {"instacart_path": str(data)}, unit_tests=True)
    project.dbt("build", *OWN_UNIT_TESTS)
    return project


def test_the_clock_counts_back_from_the_last_order(built):
    orders = built.frame("select * from stg_orders where user_id = '900' order by order_number").set_index("order_id")
    assert orders.ordered_at.to_dict() == {
        "90001": pd.Timestamp("2016-12-01 08:00"),
        "90002": pd.Timestamp("2016-12-19 23:00"),
        "90003": pd.Timestamp("2016-12-31 07:00"),
    }
    assert built.rows("select count(distinct user_id) from stg_orders where ordered_at >= '2016-12-31'") == [(161,)]


def test_a_basket_is_summed_up_in_its_order(built):
    columns = "first_product, lead_aisle, lead_department, day_of_week, products, departments, reordered_share"
    rows = built.rows(f"select {columns} from stg_orders where user_id = '900' order by order_number")
    assert rows == [
        # products 3 and 9 stand in aisle 3, product 2 in aisle 2
        ("3", "milk", "dairy eggs", "3", 3, 2, 0.0),
        # one product each of soft drinks and of fresh fruits: the first by name
        ("2", "fresh fruits", "produce", "6", 2, 2, 0.5),
        (None, None, None, "4", None, None, None),
    ]


def test_labels_are_those_of_pandas(built, files):
    orders = files["orders"].sort_values(["user_id", "order_number"], ascending=[True, False])
    later = orders.groupby("user_id").days_since_prior_order.cumsum().groupby(orders.user_id).shift(fill_value=0.0)
    orders["ordered_on"] = LAST_DAY - pd.to_timedelta(later, unit="D")
    expected = {}
    for cutoff in (pd.Timestamp("2016-12-03"), pd.Timestamp("2016-12-17")):
        for user, days in orders.groupby("user_id").ordered_on:
            if days.min() < cutoff:
                expected[str(user), cutoff] = not days.between(cutoff, cutoff + pd.Timedelta(days=13)).any()
    labels = built.frame("select * from churn_labels")
    found = {(row.customer_id, row.cutoff_at): row.is_churned for row in labels.itertuples()}
    assert found == expected
    # By hand: an order on 12-19 is after the train horizon [12-03, 12-17) and in the evaluate horizon [12-17, 12-31).
    assert found["900", pd.Timestamp("2016-12-03")] and not found["900", pd.Timestamp("2016-12-17")]
    assert {True, False} == set(found.values())


def test_everybody_is_scored_and_rfm_finds_who_orders_often(built):
    assert built.rows("select count(distinct customer_id) from churn_predictions") == [(161,)]
    auroc = built.frame("select * from model_performance where task = 'churn' and metric = 'auroc'")
    auroc = auroc[auroc.representation == "rfm"]
    assert set(auroc.learner) == {"random_forest", "lightgbm"} and (auroc.value > 0.7).all()


def test_missing_files_are_one_line_and_exit_code_2(tmp_path):
    assert "orders.csv" in make_without_data("instacart", tmp_path)

"""The example of music subscriptions, on made-up files of exactly the columns that Kaggle documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.projects import OWN_UNIT_TESTS, Project, install_example, make_without_data

TRAIN, EVALUATE, SCORE = (pd.Timestamp(day) for day in ("2016-12-01", "2017-02-01", "2017-03-01"))
LAST_DAY = pd.Timestamp("2017-02-28")
PAYMENT = ["payment_method_id", "payment_plan_days", "plan_list_price", "actual_amount_paid", "is_auto_renew"]
TRANSACTION = ["msno", *PAYMENT, "transaction_date", "membership_expire_date", "is_cancel"]
LOG = ["msno", "date", "num_25", "num_50", "num_75", "num_985", "num_100", "num_unq", "total_secs"]
MEMBER = ["msno", "city", "bd", "gender", "registered_via", "registration_init_time"]
OURS = "('stays', 'cancels', 'expires', 'returns', 'is_late', 'leaves')"


def day(at: str | pd.Timestamp) -> int:
    """20170228, as the publisher writes a day."""
    return int(pd.Timestamp(at).strftime("%Y%m%d"))


def made_up_files() -> dict[str, pd.DataFrame]:
    """90 members of a seed who renew every 30 days until they stop listening and leave, and a few by hand."""
    draw = np.random.default_rng(7)
    transactions, logs, labels = [], [], []

    def pay(member, at, expires, cancel=0, paid=149):
        transactions.append((member, 41, 30, 149, paid, 1, day(at), day(expires), cancel))

    def listen(member, at, seconds=7200.5):
        logs.append((member, day(at), 3, 1, 0, 2, 14, 18, seconds))

    month = pd.Timedelta(days=30)
    for number in range(90):
        member = f"{number:02d}made+up/member="
        start = pd.Timestamp("2016-07-01") + pd.Timedelta(days=int(draw.integers(0, 30)))
        months = int(draw.integers(3, 6)) if number % 3 == 0 else 9
        paid_until = start
        while paid_until <= LAST_DAY and months:
            pay(member, paid_until, paid_until + month)
            paid_until, months = paid_until + month, months - 1
        for week in pd.date_range(start, min(paid_until - month, LAST_DAY), freq="5D"):
            listen(member, week)
        if paid_until > LAST_DAY or paid_until.month == 2:
            labels.append((member, number % 7 == 0))

    # Renews on the 30th day after the end, listens for a negative time, is told by train.csv.
    pay("stays", "2016-11-01", "2016-12-01")
    pay("stays", "2016-12-31", "2017-02-10", paid=119)
    listen("stays", "2016-11-02", -9.2e15)
    # Cancels, and nothing follows.
    pay("cancels", "2016-11-20", "2017-01-05")
    pay("cancels", "2016-12-20", "2016-12-20", cancel=1)
    # A membership before its own transaction, as 19700101, ends on that day: on 2016-12-05 for good.
    pay("expires", "2016-11-30", "2016-12-01")
    pay("expires", "2016-12-05", "1970-01-01")
    # Lost in 2015, and back before the first cutoff; lost in 2016, and back only after it.
    pay("returns", "2015-01-01", "2015-02-01")
    pay("returns", "2016-11-01", "2017-12-01")
    pay("is_late", "2016-07-01", "2016-08-01")
    pay("is_late", "2016-12-24", "2017-12-01")
    # Told by train.csv to be lost.
    pay("leaves", "2016-11-15", "2017-02-15")
    labels += [("stays", False), ("leaves", True)]

    members = [("stays", 1, 28, "female", 9, 20150101), ("leaves", 4, 0, "male", 3, 20160102)]
    members += [("cancels", 13, 1030, "", 7, 20160501)]
    return {
        "transactions": pd.DataFrame(transactions, columns=TRANSACTION),
        "user_logs": pd.DataFrame(logs, columns=LOG),
        "members_v3": pd.DataFrame(members, columns=MEMBER),
        "train": pd.DataFrame(labels, columns=["msno", "is_churn"]).astype({"is_churn": int}),
    }


@pytest.fixture(scope="module")
def files() -> dict[str, pd.DataFrame]:
    return made_up_files()


@pytest.fixture(scope="module")
def built(tmp_path_factory, files) -> Project:
    """Everything, the scores on RFM included."""
    folder = install_example("kkbox", tmp_path_factory.mktemp("house"))
    data = folder / "made_up"
    data.mkdir()
    for name, rows in files.items():
        rows.sample(frac=1, random_state=7).to_csv(data / f"{name}.csv", index=False)
    project = Project(folder, Path(tmp_path_factory.mktemp("scratch")), {"kkbox_path": str(data)}, unit_tests=True)
    project.dbt("build", *OWN_UNIT_TESTS)
    return project


def test_transactions_and_music_become_activities(built):
    columns = "activity_type, payment_method, plan_days, paid, discount, days_left, is_auto_renew, transacted_at"
    ours = "('cancels', 'expires', 'stays')"
    rows = built.rows(f"select {columns} from stg_transactions where member_id in {ours} order by all")
    assert rows == [
        ("cancellation", "41", 30, None, 0.0, 0, True, pd.Timestamp("2016-12-20")),
        ("subscription", "41", 30, 119.0, 30.0, 41, True, pd.Timestamp("2016-12-31")),
        ("subscription", "41", 30, 149.0, 0.0, 0, True, pd.Timestamp("2016-12-05")),
        ("subscription", "41", 30, 149.0, 0.0, 1, True, pd.Timestamp("2016-11-30")),
        ("subscription", "41", 30, 149.0, 0.0, 30, True, pd.Timestamp("2016-11-01")),
        ("subscription", "41", 30, 149.0, 0.0, 46, True, pd.Timestamp("2016-11-20")),
    ]
    music = "select distinct songs, unique_songs, completed_share, hours from stg_listening_days"
    assert built.rows(f"{music} where member_id = 'stays'") == [(20, 18, 0.7, None)]
    assert built.rows(f"{music} where member_id != 'stays'") == [(20, 18, 0.7, 2.0001)]
    assert built.rows("select member_id, city, gender, age from stg_members order by member_id") == [
        ("cancels", "13", None, None),
        ("leaves", "4", "male", None),
        ("stays", "1", "female", 28),
    ]


def test_outcomes_and_labels_by_hand(built):
    columns = "member_id, known_at, is_churned"
    outcomes = built.rows(f"select {columns} from stg_outcomes where member_id in {OURS} order by all")
    told = pd.Timestamp("2017-03-31")
    assert outcomes == [
        ("cancels", pd.Timestamp("2017-01-20"), True),
        ("expires", pd.Timestamp("2017-01-05"), True),
        ("is_late", pd.Timestamp("2016-09-01"), True),
        ("leaves", told, True),
        ("stays", told, False),
    ]
    columns = "customer_id, cutoff_at, is_churned"
    rows = built.rows(f"select {columns} from churn_labels where customer_id in {OURS} order by all")
    assert rows == [
        ("cancels", TRAIN, True),
        ("expires", TRAIN, True),
        ("leaves", TRAIN, False),
        ("leaves", EVALUATE, True),
        ("returns", TRAIN, False),
        ("returns", EVALUATE, False),
        ("stays", TRAIN, False),
        ("stays", EVALUATE, False),
    ]


def test_labels_are_those_of_the_rule(built, files):
    """Counted month by month in pandas: who is without a new payment for 30 days, and when."""
    payments = files["transactions"][files["transactions"].msno.str.contains("made")]
    published = files["train"].set_index("msno").is_churn
    expected = {}
    for member, rows in payments.groupby("msno"):
        # These members pay in time, so only the last membership can end for good.
        ended = pd.to_datetime(str(rows.membership_expire_date.max()))
        lost = ended + pd.Timedelta(days=31) if ended < pd.Timestamp("2017-02-01") else None
        expected[member, TRAIN] = lost is not None and TRAIN <= lost < EVALUATE
        if lost is None or lost >= EVALUATE:
            expected[member, EVALUATE] = lost is not None or bool(published.get(member, 0))
        if lost is not None and lost < TRAIN:
            del expected[member, TRAIN]
    labels = built.frame("select * from churn_labels where customer_id like '%made%'")
    found = {(row.customer_id, row.cutoff_at): row.is_churned for row in labels.itertuples()}
    assert found == expected
    assert all(0 < labels[labels.cutoff_at == cutoff].is_churned.mean() < 1 for cutoff in (TRAIN, EVALUATE))


def test_only_members_are_scored(built):
    lost = "select member_id from stg_outcomes where known_at < '2017-03-01'"
    scored = built.rows("select distinct customer_id from churn_predictions order by all")
    members = f"select distinct member_id from stg_transactions where member_id not in ({lost}) order by all"
    assert scored == built.rows(members) and ("is_late",) not in scored and ("leaves",) in scored
    auroc = built.frame("select * from model_performance where task = 'churn' and metric = 'auroc'")
    auroc = auroc[auroc.representation == "rfm"]
    assert set(auroc.learner) == {"random_forest", "lightgbm"} and auroc.value.between(0, 1).all()


def test_missing_files_are_one_line_and_exit_code_2(tmp_path):
    assert "transactions.csv" in make_without_data("kkbox", tmp_path)

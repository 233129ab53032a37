"""BG/NBD and Gamma-Gamma on purchases that were drawn as they say; the published digits are in test_rfm_conventions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from caspr_train.errors import UsageError
from caspr_train.tasks import bg_nbd, sample

CUTOFF = pd.Timestamp("2025-07-01")
HORIZON_DAYS = 84
needs_the_extra = pytest.mark.skipif(
    not bg_nbd.is_available(), reason="needs the extra: pip install 'caspr-train[btyd]'"
)


def drawn(customers: int = 3_000, seed: int = 2) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """rfm_scores of r 0.5, alpha 5 weeks, a 1, b 3, p 6, q 4, v 15; and purchases and spend after the cutoff."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(0.5, 1 / 5, customers) / 7
    leaves, price = rng.beta(1, 3, customers), rng.gamma(4, 1 / 15, customers)
    rows, later, spend = [], np.zeros(customers), np.zeros(customers)
    for place in range(customers):
        age = int(rng.integers(20, 300))
        at, times = 0.0, []
        while at < age + HORIZON_DAYS:
            at += rng.exponential(1 / rate[place])
            times.append(at)
            if rng.random() < leaves[place]:
                break
        days = np.unique(np.ceil([time for time in times if time < age + HORIZON_DAYS]))
        amounts = rng.gamma(6, 1 / price[place], len(days))
        known = days <= age
        mean = amounts[known].mean() if known.any() else 0.0
        rows.append((known.sum(), days[known].max(initial=0), age, mean))
        later[place], spend[place] = (~known).sum(), amounts[~known].sum()
    names = ["btyd_frequency", "btyd_recency", "btyd_t", "btyd_monetary_value"]
    scores = pd.DataFrame(rows, columns=names).assign(
        customer_id=[f"c{number:05d}" for number in range(customers)], cutoff_at=CUTOFF
    )
    return scores, later, spend


@pytest.fixture(scope="module")
def world():
    return drawn()


@pytest.fixture(scope="module")
def scores(world):
    return bg_nbd.bg_nbd_scores(world[0], HORIZON_DAYS)


@needs_the_extra
def test_who_comes_back_and_for_how_much_is_as_often_and_as_much_as_said(world, scores):
    _, later, spend = world
    assert scores.dtypes.astype(str).to_dict() == bg_nbd.SCORE_TYPES
    fifth = pd.qcut(scores["churn_probability"].rank(method="first"), 5, labels=False)
    assert scores.groupby(fifth)["churn_probability"].mean().to_numpy() == pytest.approx(
        pd.Series(later == 0).groupby(fifth).mean().to_numpy(), abs=0.04
    )
    assert scores["predicted_revenue"].sum() == pytest.approx(spend.sum(), rel=0.1)


@needs_the_extra
def test_the_chance_of_no_purchase_is_the_closed_form(world, scores):
    """1 - P(alive) (1 - ((alpha + T) / (alpha + T + t))^(r + x)), and P(alive) = 1 for who never came again."""
    known = dict(part.split() for part in scores["note"].iloc[0].split(", "))
    r, alpha, a, b = (float(known[name]) for name in ("r", "alpha", "a", "b"))
    x, t_x, t = world[0][["btyd_frequency", "btyd_recency", "btyd_t"]].to_numpy().T / [[1], [7], [7]]
    odds = np.where(x > 0, a / (b + x - 1) * ((alpha + t) / (alpha + t_x)) ** (r + x), 0)
    expected = 1 - (1 - ((alpha + t) / (alpha + t + HORIZON_DAYS / 7)) ** (r + x)) / (1 + odds)
    assert scores["churn_probability"].to_numpy() == pytest.approx(expected, abs=2e-3)  # four digits of the parameters


@needs_the_extra
def test_neither_the_order_of_rows_nor_other_cutoffs_nor_never_buying_customers_move_a_bit(world, scores):
    nobody = world[0].head(5).assign(customer_id=[f"n{number}" for number in range(5)])
    nobody[["btyd_frequency", "btyd_recency", "btyd_t", "btyd_monetary_value"]] = np.nan
    few = world[0].head(5).assign(cutoff_at=CUTOFF - pd.Timedelta(days=90))  # too few to fit: no rows
    again = bg_nbd.bg_nbd_scores(pd.concat([nobody, world[0].sample(frac=1, random_state=1), few]), HORIZON_DAYS)
    is_nobody = again["customer_id"].str.startswith("n")
    pd.testing.assert_frame_equal(again[~is_nobody].reset_index(drop=True), scores, check_exact=True)
    assert (
        again.loc[is_nobody, "churn_probability"].eq(1).all() and again.loc[is_nobody, "predicted_revenue"].eq(0).all()
    )


@needs_the_extra
def test_without_money_there_is_churn_alone_and_without_customers_nothing(world, scores):
    bare = bg_nbd.bg_nbd_scores(world[0].assign(btyd_monetary_value=np.nan), HORIZON_DAYS)
    assert bare["predicted_revenue"].isna().all()
    assert bare["churn_probability"].equals(scores["churn_probability"])
    empty = bg_nbd.bg_nbd_scores(world[0].head(0), HORIZON_DAYS)
    assert len(empty) == 0 and empty.dtypes.astype(str).to_dict() == bg_nbd.SCORE_TYPES


@needs_the_extra
def test_where_the_mean_spend_does_not_exist_no_revenue_is_made_up(world, scores, monkeypatch):
    parameters = bg_nbd.parameters
    monkeypatch.setattr(bg_nbd, "parameters", lambda model: {**parameters(model), "q": 1.0})
    found = bg_nbd.bg_nbd_scores(world[0], HORIZON_DAYS)
    assert found["predicted_revenue"].isna().all() and found["churn_probability"].equals(scores["churn_probability"])


@pytest.mark.parametrize("most", [100, 1_000])
def test_no_more_are_fitted_on_than_the_most_though_all_were_chosen_by_the_same_hash(world, most, monkeypatch):
    chosen = world[0][sample.is_sampled(world[0]["customer_id"], 30_000, 10_000)]
    assert 900 < len(chosen) < 1_100
    fitted = []

    class EnoughError(Exception):
        pass

    def fit(purchases):
        fitted.append(purchases)
        raise EnoughError

    monkeypatch.setattr(bg_nbd, "is_available", lambda: True)
    monkeypatch.setattr(bg_nbd, "fit", fit)
    monkeypatch.setattr(bg_nbd, "MAXIMUM_FIT_CUSTOMERS", most)
    with pytest.raises(EnoughError):
        bg_nbd.bg_nbd_scores(chosen, HORIZON_DAYS)
    (found,) = fitted
    assert len(found) == min(most, len(chosen))
    assert sample.hashes(found["customer_id"]).max() == np.sort(sample.hashes(chosen["customer_id"]))[len(found) - 1]
    assert found["customer_id"].is_monotonic_increasing


def test_without_the_extra_the_error_says_what_to_install(world, monkeypatch):
    monkeypatch.setattr(bg_nbd, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'caspr-train\[btyd\]'"):
        bg_nbd.bg_nbd_scores(world[0], HORIZON_DAYS)

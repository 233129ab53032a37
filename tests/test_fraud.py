"""Fraud: what the metrics count, and that nobody is fitted on what was not known yet."""

import duckdb
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from caspr_train.tasks import metrics
from caspr_train.tasks.fraud import FRAUD
from caspr_train.tasks.performance import performance
from caspr_train.tasks.protocol import evaluate, evaluation_types, score
from tests.test_tasks import EVALUATE, SCORE, TRAIN, make_tables, untrained

LATE = EVALUATE + pd.Timedelta(days=5)
NAMES = ("rfm",)


@pytest.fixture(scope="module")
def tables():
    return make_tables(customers=400, seed=3)


def fraud_labels(tables, only_reported=False):
    """A fifth of the customers are frauds; half of those of the train cutoff become known too late."""
    labels = tables.churn_labels[["customer_id", "cutoff_at"]].copy()
    rfm = tables.rfm_features.merge(labels, on=["customer_id", "cutoff_at"])
    rng = np.random.default_rng(5)
    labels["is_fraud"] = (rfm["recency"] + 0.3 * rng.normal(size=len(rfm)) > 0.85).to_numpy()
    known_at = labels["cutoff_at"] + pd.Timedelta(days=9)
    late = (labels["cutoff_at"] == TRAIN) & (np.arange(len(labels)) % 2 == 0)
    known_at = known_at.where(~late, LATE)
    labels["known_at"] = known_at if only_reported else known_at.where(labels["is_fraud"])
    labels["reported_at"] = labels["known_at"]
    labels["is_fraud_until_known"] = None if only_reported else False
    return labels.assign(alert_share=0.1)


def scored(tables, labels):
    return evaluate(untrained(tables, fraud_labels=labels), FRAUD, representations=NAMES)


def test_average_precision_is_that_of_scikit_learn_with_ties_and_weights():
    rng = np.random.default_rng(0)
    is_positive, score = rng.random(500) < 0.1, rng.integers(0, 40, 500) / 40
    statistic = metrics.average_precision(is_positive, score)
    for weights in (np.ones(500), rng.integers(0, 4, 500).astype(float)):
        expected = average_precision_score(is_positive, score, sample_weight=weights)
        assert statistic(weights) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(metrics.average_precision(is_positive & False, score)(np.ones(500)))


def test_what_is_found_at_the_top_is_counted_by_hand():
    """Ten customers, four frauds: the best one is a fraud, of the three in a tie behind it one is."""
    score = np.array([0.9, 0.5, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.0])
    is_fraud = np.array([1, 1, 0, 0, 0, 1, 0, 0, 1, 0], dtype=bool)
    ones = np.ones(10)
    for share, hits in ((0.05, 0.5), (0.1, 1.0), (0.2, 1 + 1 / 3), (0.4, 2.0), (0.6, 3.0), (1.0, 4.0)):
        assert metrics.precision_at(is_fraud, score, share)(ones) == pytest.approx(hits / (share * 10))
        assert metrics.recall_at(is_fraud, score, share)(ones) == pytest.approx(hits / 4)
    # whoever was drawn twice counts twice, whoever was not drawn is not there
    weights = np.array([2.0, 0, 0, 2, 1, 1, 1, 1, 1, 1])
    assert metrics.recall_at(is_fraud, score, 0.2)(weights) == pytest.approx(2 / 4)
    assert np.isnan(metrics.recall_at(is_fraud & False, score, 0.2)(ones))


def test_a_label_that_became_known_late_changes_no_score(tables):
    labels = fraud_labels(tables)
    before = scored(tables, labels)
    assert before.dtypes.astype(str).to_dict() == evaluation_types(FRAUD)
    is_late = (labels["cutoff_at"] == TRAIN) & ~(labels["known_at"] < EVALUATE)
    assert 0 < labels["is_fraud"][is_late].sum() < is_late.sum()
    turned = labels.assign(is_fraud=labels["is_fraud"] ^ is_late)
    pd.testing.assert_frame_equal(scored(tables, turned), before)
    # known exactly at the cutoff is not known before it
    at_once = labels.assign(known_at=labels["known_at"].where(~is_late, EVALUATE))
    pd.testing.assert_frame_equal(scored(tables, at_once), before)
    # but it is known where the score cutoff is scored, and what was known before is used
    known = labels.assign(known_at=labels["known_at"].where(~is_late, EVALUATE - pd.Timedelta(seconds=1)))
    assert not scored(tables, known)["fraud_probability"].equals(before["fraud_probability"])


def test_what_is_not_known_before_the_score_cutoff_changes_no_prediction(tables):
    labels = fraud_labels(tables)
    is_late = (labels["cutoff_at"] == EVALUATE) & (np.arange(len(labels)) % 3 == 0)
    labels["known_at"] = labels["known_at"].where(~is_late, SCORE)
    before = score(untrained(tables, fraud_labels=labels), FRAUD)
    turned = labels.assign(is_fraud=labels["is_fraud"] ^ is_late)
    pd.testing.assert_frame_equal(score(untrained(tables, fraud_labels=turned), FRAUD), before)
    assert before["fraud_probability"].nunique() > 20


def test_measured_is_what_is_known_today(tables):
    labels = fraud_labels(tables)
    measured = performance(scored(tables, labels), FRAUD)
    assert set(measured["metric"]) == {"auroc", "average_precision", "precision_at_1_percent", "recall_at_alerts"}
    values = measured.query("learner == 'lightgbm'").set_index("metric")["value"]
    assert values["auroc"] > 0.8 and values["average_precision"] > 0.4
    # a tenth of the customers can be looked into, a fifth are frauds
    assert 0.3 < values["recall_at_alerts"] < 0.55
    note = measured.query("metric == 'recall_at_alerts'")["note"].iloc[0]
    assert "alerts on 10 % of the customers" in note


def test_with_only_reported_a_late_label_is_no_label(tables):
    labels = fraud_labels(tables, only_reported=True)
    late = labels["cutoff_at"].eq(TRAIN) & ~(labels["known_at"] < EVALUATE)
    assert late.any()
    pd.testing.assert_frame_equal(scored(tables, labels), scored(tables, labels[~late]))
    # Reported before and cleared, it was no fraud then, whatever became known later.
    cleared = labels.assign(reported_at=labels["reported_at"].where(~late, EVALUATE - pd.Timedelta(seconds=1)))
    then = cleared.assign(is_fraud=labels["is_fraud"] & ~late, known_at=cleared["reported_at"])
    pd.testing.assert_frame_equal(scored(tables, cleared), scored(tables, then))


def test_without_a_known_label_other_customers_of_the_same_cutoff_are_fitted_on(tables):
    labels = fraud_labels(tables, only_reported=True)
    labels = labels[labels["cutoff_at"] == EVALUATE]
    evaluation = scored(tables, labels)
    assert evaluation["note"].str.contains("fitted on other customers of the same cutoff").all()
    assert performance(evaluation, FRAUD).query("metric == 'auroc'")["value"].gt(0.8).all()
    # a customer's own label is never fitted on: with it turned, the own score stays
    customer = labels["customer_id"].iloc[0]
    turned = labels.assign(is_fraud=labels["is_fraud"] ^ (labels["customer_id"] == customer))
    mine = [
        frame[frame["customer_id"] == customer]["fraud_probability"] for frame in (evaluation, scored(tables, turned))
    ]
    assert mine[0].equals(mine[1])


def test_no_fraud_and_few_frauds_are_measured_and_said(tables):
    labels = fraud_labels(tables)
    none = performance(scored(tables, labels.assign(is_fraud=False)), FRAUD).set_index("metric")
    assert none["value"].drop(["precision_at_1_percent"]).isna().all()
    assert none["note"].str.contains("is the base rate: is_fraud is false in every row fitted on").all()
    few = labels["is_fraud"] & (labels["cutoff_at"].eq(EVALUATE) | (labels.groupby("is_fraud").cumcount() % 10 == 0))
    evaluation = scored(tables, labels.assign(is_fraud=few))
    assert evaluation["note"].str.contains("labels of the rarer kind, and is unsure").all()
    assert performance(evaluation, FRAUD)["standard_error"].gt(0).any()


def test_without_the_setting_there_is_nothing(tables):
    labels = fraud_labels(tables).head(0)
    assert len(scored(tables, labels)) == 0
    assert len(score(untrained(tables, fraud_labels=labels), FRAUD)) == 0
    assert duckdb.from_df(scored(tables, labels)).types  # a table can be made of it

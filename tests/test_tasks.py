"""What must hold for the tasks: protocol, representations and controls, on frames made here and read through DuckDB."""

import signal
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import brier_score_loss, log_loss, mean_squared_error, roc_auc_score

from caspr_train.errors import DataError
from caspr_train.tasks import bg_nbd, learners, protocol, sample
from caspr_train.tasks.churn import CHURN
from caspr_train.tasks.lifetime_value import LIFETIME_VALUE
from caspr_train.tasks.performance import performance
from caspr_train.tasks.protocol import evaluate, evaluation_types, score, score_types
from caspr_train.tasks.representations import BLOCKS, CONTROLS, ProfileValues, build

TRAIN, EVALUATE, SCORE = (pd.Timestamp(day) for day in ("2011-01-01", "2011-04-01", "2011-07-01"))
NAMES_OF_TASKS = ["churn", "lifetime_value", "fraud", "recommendation"]
WIDTH = 8
NAMES = list(BLOCKS)


def make_tables(customers=300, seed=0, strength=1.5):
    """The marts as the scorer sees them. Recency tells a little of churn and revenue; the embedding tells more."""
    rng = np.random.default_rng(seed)
    cutoffs = pd.DataFrame(
        {
            "cutoff_at": [TRAIN, EVALUATE, SCORE],
            "role": ["train", "evaluate", "score"],
            "horizon_ends_at": [EVALUATE, SCORE, SCORE + (SCORE - EVALUATE)],
            "has_labels": [True, True, False],
            "as_of": SCORE,
        }
    )
    keys = pd.DataFrame(
        {
            "customer_id": np.tile(numbered(customers), 3),
            "cutoff_at": np.repeat(cutoffs["cutoff_at"].to_numpy(), customers),
        }
    )
    n = len(keys)
    recency, hidden = rng.normal(size=n), rng.normal(size=n)
    embedding = rng.normal(size=(n, WIDTH)).astype(np.float32)
    embedding[:, 0] = hidden
    logit = 0.7 * recency + strength * hidden + rng.normal(size=n)
    revenue = np.exp(1 - logit / 2)
    is_high_value = revenue > np.quantile(revenue, 0.8)
    labels = keys.assign(is_churned=logit > 0, future_revenue=revenue, is_high_value=is_high_value)
    labels = labels[labels["cutoff_at"] < SCORE].reset_index(drop=True)
    rfm = keys.assign(recency=recency, count=rng.poisson(3, n), gap=np.where(rng.random(n) < 0.2, np.nan, recency**2))
    controls = pd.concat(
        keys.assign(model_version="v1", control=control, embedding=list(rng.normal(size=(n, 4)).astype(np.float32)))
        for control in ("random_encoder", "mean_pool")
    )
    return SimpleNamespace(
        rfm_features=rfm,
        customer_profiles=keys.assign(
            has_profile=True, profile_began_at=pd.Timestamp("2010-06-01"), country=rng.choice(["UK", "FR", None], n)
        ),
        content_features=keys.assign(page_top_1_count=rng.poisson(1, n)),
        customer_embeddings=keys.assign(
            model_version="v1", embedding=list(embedding), embedded_at=pd.Timestamp("2011-07-02")
        ),
        control_embeddings=controls[controls["cutoff_at"] < SCORE],
        churn_labels=labels,
        lifetime_value_labels=labels,
        cutoffs=cutoffs,
        task_settings=pd.DataFrame(
            {"task": NAMES_OF_TASKS, "horizon_days": 90, "rfm_period": "day", "is_about_purchases": False}
        ),
        customer_counts=counts_of(keys),
        customers_without_activity=strangers(0),
        model_leaderboard=board(),
    )


def counts_of(keys, without=0):
    """customer_counts of these pairs, with so many customers without activity at the score cutoff."""
    counts = keys.groupby("cutoff_at", as_index=False).agg(customers=("customer_id", "size"))
    return counts.assign(customers_without_activity=np.where(counts["cutoff_at"] == SCORE, without, 0))


def labels_counted(marts):
    """label_counts of the labels' marts there are."""
    names = [name for name in ("churn", "lifetime_value", "fraud") if f"{name}_labels" in marts]
    counts = [marts[f"{name}_labels"].groupby("cutoff_at", as_index=False).size().assign(task=name) for name in names]
    return pd.concat(counts).rename(columns={"size": "customers"})


def strangers(count):
    """customers_without_activity: every other one is of country UK, the others of FR."""
    return pd.DataFrame(
        {
            "customer_id": [f"s{number:05d}" for number in range(count)],
            "cutoff_at": SCORE,
            "has_profile": True,
            "country": np.where(np.arange(count) % 2 == 0, "UK", "FR").astype(object),
        }
    )


def board(learner=None, representation=None):
    """model_leaderboard with this champion of both tasks, or before anything was measured."""
    tasks = ["churn", "lifetime_value"] if learner else []
    return pd.DataFrame({"task": tasks, "learner": learner, "representation": representation}, dtype="object")


def reading(tables, **replaced):
    """`read` as dbt's relations and the trainer's reader give it: conditions are SQL, which DuckDB runs."""
    marts = vars(tables) | replaced
    marts.setdefault("label_counts", labels_counted(marts))

    def read(name, condition=""):
        frame = marts[name]
        return duckdb.from_df(frame).filter(condition).df() if condition and len(frame) else frame.copy()

    return read


def untrained(tables, **replaced):
    """As before the first training: fewer representations, for what does not depend on them."""
    empty = {name: getattr(tables, name).head(0) for name in ("customer_embeddings", "control_embeddings")}
    return reading(tables, **(empty | replaced))


def numbered(customers):
    return [f"c{number:05d}" for number in range(customers)]


def at_most(monkeypatch, customers):
    """So many take part."""
    monkeypatch.setattr(sample, "MAXIMUM_CUSTOMERS", customers)
    for chooses in (sample.sampled_in_sql, sample.share):
        monkeypatch.setattr(chooses, "__defaults__", (customers,))


def value_of(frame, metric, learner, representation, column="value"):
    row = frame.query("metric == @metric and learner == @learner and representation == @representation")
    return row[column].item()


@pytest.fixture(scope="module")
def tables():
    return make_tables()


@pytest.fixture(scope="module")
def evaluation(tables):
    return evaluate(reading(tables), CHURN)


@pytest.fixture(scope="module")
def measured(evaluation):
    return performance(evaluation, CHURN)


# -- the evaluation


def test_every_labelled_customer_is_scored_once_by_learner_and_representation(evaluation):
    assert evaluation.dtypes.astype(str).to_dict() == evaluation_types(CHURN)
    assert not evaluation.duplicated(["customer_id", "cutoff_at", "learner", "representation"]).any()
    sizes = evaluation.groupby(["learner", "representation"]).size()
    assert sizes.unique().tolist() == [300]
    assert sorted(set(sizes.index.get_level_values(1))) == sorted(NAMES)
    assert evaluation["cutoff_at"].eq(EVALUATE).all()
    assert evaluation["churn_probability"].between(0, 1).all()
    assert (evaluation["is_control"] == evaluation["representation"].isin(CONTROLS)).all()


def test_an_embedding_with_a_signal_wins_and_the_controls_do_not(measured):
    for learner in learners.LEARNERS:
        for name in ("caspr", "caspr_rfm", "caspr_rfm_content"):
            assert value_of(measured, "auroc", learner, name, "difference_to_rfm_low") > 0
            assert value_of(measured, "auroc", learner, name, "difference_to_control_low") > 0
        for name in CONTROLS:
            assert abs(value_of(measured, "auroc", learner, name, "difference_to_rfm")) < 0.1
    champion = measured[measured["is_champion"]]
    assert set(champion["representation"]) == {"caspr_rfm"}
    assert champion["learner"].nunique() == 1


def test_no_customer_is_scored_by_a_learner_that_saw_it(tables, monkeypatch):
    """The customer's number is a feature here, so that the learner can tell whom it sees."""
    number = tables.rfm_features["customer_id"].str[1:].astype(float)
    marked = tables.rfm_features[["customer_id", "cutoff_at"]].assign(number=number)
    seen = []

    def fit(learner, x, y, customers, seed):
        fitted = set(x[:, 0])

        def predict(rows):
            seen.append((fitted, set(rows[:, 0])))
            return np.zeros(len(rows))

        return predict

    monkeypatch.setattr(learners, "fit", fit)
    evaluate(untrained(tables, rfm_features=marked), CHURN)
    assert len(seen) == 2 * 2 * sample.FOLDS
    for fitted, asked in seen:
        assert len(fitted) > 150 and len(asked) > 50
        assert not fitted & asked


def test_customers_of_one_side_only_are_all_fitted_on(tables, monkeypatch):
    """As with students of two years: nobody stands on both sides, and one fit is enough."""
    fits = []
    monkeypatch.setattr(learners, "fit", lambda learner, x, y, *_: fits.append(len(x)) or learners.base_rate(y))
    labels = tables.churn_labels
    is_early = labels["customer_id"] < "c00100"
    apart = labels[is_early == (labels["cutoff_at"] == TRAIN)]
    assert len(evaluate(untrained(tables, churn_labels=apart), CHURN)) == 200 * 4
    assert fits == [100] * 4


def test_a_shuffled_label_tells_nothing_to_any_representation():
    tables = make_tables(customers=600, seed=5)
    rng = np.random.default_rng(3)
    labels = tables.churn_labels.copy()
    for at in (TRAIN, EVALUATE):
        here = labels["cutoff_at"] == at
        labels.loc[here, "is_churned"] = rng.permutation(labels.loc[here, "is_churned"])
    measured = performance(evaluate(reading(tables, churn_labels=labels), CHURN), CHURN)
    auroc = measured[measured["metric"] == "auroc"]
    assert len(auroc) == 2 * len(NAMES)
    assert ((auroc["value"] - 0.5).abs() <= 3 * auroc["standard_error"]).all()


def test_same_tables_in_any_order_of_rows_give_the_same_scores_bit_for_bit(tables, evaluation, measured):
    shuffled = SimpleNamespace(
        **{name: frame.sample(frac=1, random_state=place) for place, (name, frame) in enumerate(vars(tables).items())}
    )
    again = evaluate(reading(shuffled), CHURN)
    pd.testing.assert_frame_equal(evaluation, again, check_exact=True)
    again = performance(again.sample(frac=1, random_state=5), CHURN)
    keys = ["learner", "representation", "metric"]
    pd.testing.assert_frame_equal(
        measured.sort_values(keys, ignore_index=True), again.sort_values(keys, ignore_index=True), check_exact=True
    )


@pytest.mark.parametrize(
    ("learner", "kind"), [("random_forest", "boolean"), ("random_forest", "number"), ("lightgbm", "number")]
)
def test_the_number_of_threads_does_not_move_a_bit(learner, kind, monkeypatch):
    rng = np.random.default_rng(11)
    x = rng.normal(size=(10_000 if learner == "lightgbm" else 500, 3)).astype(np.float32).round(1)
    y = x.sum(axis=1) + rng.normal(size=len(x))
    scores = []
    for cores in (1, 4):
        monkeypatch.setattr(learners, "cores", lambda cores=cores: cores)
        scores.append(learners.fit(learner, x, y > 0 if kind == "boolean" else y, numbered(len(x)))(x[:500]))
    np.testing.assert_array_equal(*scores)


def test_a_forest_says_what_the_library_says_and_nothing_else(recwarn):
    """Its threads lose Python's filters of warnings now and then; each tree would then warn, amidst dbt's output."""
    rng = np.random.default_rng(12)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    y = np.nan_to_num(x).sum(axis=1)
    filters, warnings.filters[:] = warnings.filters[:], []
    mean = learners.fit("random_forest", x, y, numbered(len(x)))(x)
    assert warnings.filters == []
    warnings.filters[:] = filters
    assert not recwarn.list
    forest = RandomForestRegressor(learners.TREES, max_features="sqrt", random_state=learners.SEED + 1).fit(x, y)
    np.testing.assert_array_equal(mean, forest.predict(x))


@pytest.mark.parametrize("learner", learners.LEARNERS)
def test_probabilities_are_calibrated(learner):
    """A forest of full-grown trees shrinks towards the middle, boosting in few rows does not: both come out right."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(6000, 4)).astype(np.float32)
    truth = 1 / (1 + np.exp(-2 * x[:, 0]))
    y = rng.random(len(x)) < truth
    fit, rest = slice(0, 2000), slice(2000, None)
    probability = learners.fit(learner, x[fit], y[fit], numbered(2000))(x[rest])
    assert brier_score_loss(y[rest], probability) < brier_score_loss(y[rest], truth[rest]) + 0.015
    for low, high in ((0, 0.2), (0.2, 0.8), (0.8, 1)):
        inside = (probability >= low) & (probability < high)
        assert y[rest][inside].mean() == pytest.approx(probability[inside].mean(), abs=0.08)


@pytest.mark.parametrize("learner", learners.LEARNERS)
@pytest.mark.parametrize("rate", [0.002, 0.03, 0.5])
def test_calibration_never_moves_a_rank(learner, rate, monkeypatch):
    """Whole numbers as features, as RFM has them: equal customers of both classes then share a leaf."""
    rng = np.random.default_rng(6)
    x = rng.poisson(1.5, (8000, 3)).astype(np.float32)
    risk = x[:, 0] + 0.5 * x[:, 1] + rng.normal(0, 2, len(x))
    y = risk > np.quantile(risk, 1 - rate)
    fit, rest = slice(0, 4000), slice(4000, None)
    monkeypatch.setattr(learners, "FEWEST_TO_CALIBRATE", 2)  # so that three positives are calibrated on, too
    probability = learners.fit(learner, x[fit], y[fit], numbered(4000))(x[rest])
    monkeypatch.setattr(learners, "calibrated", lambda *_: None)
    raw = learners.fit(learner, x[fit], y[fit], numbered(4000))(x[rest])
    assert not np.array_equal(probability, raw)
    assert roc_auc_score(y[rest], probability) == pytest.approx(roc_auc_score(y[rest], raw), abs=1e-12)
    np.testing.assert_array_equal(rankdata(probability), rankdata(raw))


def test_the_curve_rises_or_there_is_none():
    """It needs enough of both kinds, however many rows there are; and classes apart give no ties at the ends."""
    enough = learners.FEWEST_TO_CALIBRATE
    y = np.arange(6000) < enough
    assert learners.calibrated(np.where(y, 1.0, -1.0), y) is not None
    assert learners.calibrated(np.where(y, 1.0, -1.0), np.arange(6000) < enough - 1) is None
    assert learners.calibrated(np.where(y, 1.0, -1.0), np.arange(6000) >= enough - 1) is None
    assert learners.calibrated(np.where(y, -1.0, 1.0), y) is None
    grid = np.linspace(-6, 6, 1000)
    assert (np.diff(learners.calibrated(grid, grid > 0)(grid)) > 0).all()


def test_a_forest_is_calibrated_on_customers_that_it_did_not_see():
    """Nine rows a customer, all but the same: the rows that a tree did not draw are known to it all the same."""
    rng = np.random.default_rng(8)
    customers, times = 600, 9
    x = rng.normal(size=(customers + 4000, 6)).astype(np.float32)
    y = rng.random(len(x)) < 1 / (1 + np.exp(-x[:, 0]))
    again = np.repeat(np.arange(customers), times)
    rows = x[again] + rng.normal(0, 0.01, (len(again), 6)).astype(np.float32)
    asked, happened = x[customers:], y[customers:]
    probability = learners.fit("random_forest", rows, y[again], np.array(numbered(customers))[again])(asked)
    assert log_loss(happened, probability) < log_loss(happened, np.full(len(asked), 0.5)) - 0.02


def test_evaluate_scores_never_see_evaluate_labels(tables, evaluation):
    turned = tables.churn_labels.assign(
        is_churned=tables.churn_labels["is_churned"] ^ tables.churn_labels["cutoff_at"].eq(EVALUATE)
    )
    again = evaluate(reading(tables, churn_labels=turned), CHURN)
    np.testing.assert_array_equal(again["churn_probability"], evaluation["churn_probability"])
    assert (again["is_churned"] != evaluation["is_churned"]).all()


def test_score_scores_see_the_newest_labels_and_no_others(tables):
    def scored(**turned):
        return score(untrained(tables, **turned), CHURN)["churn_probability"].to_numpy()

    def with_labels_turned(at):
        labels = tables.churn_labels
        return labels.assign(is_churned=labels["is_churned"] ^ labels["cutoff_at"].eq(at))

    plain = scored()
    np.testing.assert_array_equal(scored(churn_labels=with_labels_turned(TRAIN)), plain)
    assert np.corrcoef(scored(churn_labels=with_labels_turned(EVALUATE)), plain)[0, 1] < -0.5
    leaked = tables.churn_labels.head(300).assign(cutoff_at=SCORE, is_churned=True)
    np.testing.assert_array_equal(scored(churn_labels=pd.concat([tables.churn_labels, leaked])), plain)


def test_a_train_window_that_reaches_past_the_evaluate_cutoff_is_refused(tables):
    longer = tables.task_settings.assign(horizon_days=91)
    with pytest.raises(DataError, match=r"train cutoff 2011-01-01.*expected to end by the evaluate cutoff 2011-04-01"):
        evaluate(reading(tables, task_settings=longer), CHURN)


def test_several_train_cutoffs_are_stacked(tables):
    earlier = TRAIN - (EVALUATE - TRAIN)
    first = tables.cutoffs.head(1).assign(cutoff_at=earlier, horizon_ends_at=TRAIN)
    turns = protocol.rounds(reading(tables, cutoffs=pd.concat([tables.cutoffs, first])), CHURN)
    expected = [("evaluate", [earlier, TRAIN]), ("score", [TRAIN, EVALUATE])]
    assert [(turn.role, turn.fit_cutoffs) for turn in turns] == expected


def test_a_task_is_fitted_where_its_own_horizon_has_ended(tables):
    """The marts' is the longest of all tasks: of a year it has ended nowhere yet, and that of churn at both cutoffs."""
    long = tables.cutoffs.assign(horizon_ends_at=tables.cutoffs["cutoff_at"] + pd.Timedelta(days=365), has_labels=False)
    turns = protocol.rounds(reading(tables, cutoffs=long), CHURN)
    assert [(turn.role, turn.fit_cutoffs) for turn in turns] == [("evaluate", [TRAIN]), ("score", [EVALUATE])]
    for days, known in ((91, [EVALUATE]), (92, [TRAIN])):  # the evaluate cutoff's ends at as_of, or a day later
        settings = tables.task_settings.assign(horizon_days=days)
        alone = tables.cutoffs[tables.cutoffs["role"] != "evaluate"]
        cutoffs = pd.concat([alone, tables.cutoffs[1:2].assign(role="train")])
        (turn,) = protocol.rounds(reading(tables, cutoffs=cutoffs, task_settings=settings), CHURN)
        assert turn.fit_cutoffs[-1:] == known


def test_where_there_are_very_many_customers_a_sample_takes_part_and_everybody_is_scored(tables, monkeypatch):
    at_most(monkeypatch, 100)
    monkeypatch.setattr(learners, "CHUNK_ROWS", 40)
    expected = set(tables.rfm_features["customer_id"][sample.is_sampled(tables.rfm_features["customer_id"], 300, 100)])
    evaluation = evaluate(untrained(tables), CHURN)
    assert 70 < len(expected) < 130
    assert set(evaluation["customer_id"]) == expected
    of_how_many = "about 100 of 300 customers with a label, chosen by a hash of the key"
    said = [f"{what} {of_how_many}" for what in ("fitted on", "measured on")]
    assert evaluation["note"].str.startswith("; ".join(said)).all()
    assert score(untrained(tables), CHURN)["customer_id"].nunique() == 300


def test_of_few_who_have_a_label_all_take_part_however_many_customers_there_are(tables, monkeypatch):
    """With at_risk_days, or fraud.only_reported: a sample of all customers would leave out most of the labels."""
    few = sorted(tables.churn_labels["customer_id"].unique())[::5]
    labels = tables.churn_labels[tables.churn_labels["customer_id"].isin(few)]
    whole = reading(tables, churn_labels=labels)
    expected, scores = evaluate(whole, CHURN), score(whole, CHURN)
    at_most(monkeypatch, 70)
    monkeypatch.setattr(learners, "CHUNK_ROWS", 40)
    sizes = []

    def read(name, condition):
        found = whole(name, condition)
        if name == "rfm_features":
            sizes.append(len(found))
        return found

    found = evaluate(read, CHURN)
    assert set(found["customer_id"]) == set(few) and len(few) == 60
    assert not found["note"].str.contains("chosen by a hash").any()
    assert len(sizes) == 15 and max(sizes) < 2 * 40  # a piece after the other, of two cutoffs
    is_noise = found["representation"] == "rfm_noise"  # drawn for other rows
    pd.testing.assert_frame_equal(found[~is_noise], expected[~is_noise], check_exact=True)
    pd.testing.assert_frame_equal(
        score(read, CHURN).sort_values("customer_id", ignore_index=True),
        scores.sort_values("customer_id", ignore_index=True),
        check_exact=True,
    )


def test_every_customer_is_in_one_of_as_few_parts_as_there_must_be():
    """Each part is a pass over the widest mart: sixteen times as many for one customer more would be hours."""
    keys = duckdb.from_df(pd.DataFrame({"customer_id": numbered(5_000)}))
    assert list(sample.parts_in_sql(5_000, 5_000)) == [""] and not list(sample.parts_in_sql(0, 5_000))
    for most, expected in ((4_999, 2), (1_700, 3), (300, 17)):
        parts = [keys.filter(part).df()["customer_id"] for part in sample.parts_in_sql(5_000, most)]
        assert len(parts) == expected and max(map(len, parts)) < 1.3 * most
        assert sorted(pd.concat(parts)) == numbered(5_000)


def test_who_interrupts_does_not_wait_for_the_fits_under_way(tables, monkeypatch):
    begun, enough, ended = threading.Semaphore(0), threading.Event(), []

    def fit(*_):
        begun.release()
        ended.append(enough.wait(60))
        return learners.base_rate(np.zeros(1))

    def interrupt():
        for _ in range(protocol.SIDE_BY_SIDE):
            begun.acquire()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    monkeypatch.setattr(learners, "fit", fit)
    # A shell has what it starts in the background ignore this signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            evaluate(untrained(tables), CHURN)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not ended
    enough.set()


# -- the scores that are used


def test_the_champion_scores_every_customer_of_the_score_cutoff(tables):
    scores = score(reading(tables, model_leaderboard=board("random_forest", "caspr_rfm")), LIFETIME_VALUE)
    assert scores.dtypes.astype(str).to_dict() == score_types(LIFETIME_VALUE)
    assert scores["customer_id"].is_unique and len(scores) == 300
    assert scores["cutoff_at"].eq(SCORE).all()
    assert set(zip(scores["learner"], scores["representation"], strict=True)) == {("random_forest", "caspr_rfm")}
    assert scores["note"].eq("").all()


def test_nothing_is_fitted_of_which_nobody_is_scored(tables, monkeypatch):
    """A forest of 100,000 customers takes minutes: what a champion without its embedding falls back to is no spare."""
    fits = []
    monkeypatch.setattr(learners, "fit", lambda learner, x, y, *_: fits.append(x.shape[1]) or learners.base_rate(y))
    monkeypatch.setattr(learners, "CHUNK_ROWS", 50)
    read = reading(tables, model_leaderboard=board("lightgbm", "caspr_rfm"))
    assert len(score(read, LIFETIME_VALUE)) == 300
    assert len(fits) == len(LIFETIME_VALUE.targets) and len(set(fits)) == 1


def test_of_two_champions_none_is_taken(tables):
    two = pd.concat([board("random_forest", "caspr_rfm"), board("lightgbm", "rfm")], ignore_index=True)
    with pytest.raises(DataError, match="model_leaderboard: 2 champions of churn, expected one"):
        score(reading(tables, model_leaderboard=two), CHURN)


def test_scores_do_not_depend_on_the_chunks_they_are_made_in(tables, monkeypatch):
    read = reading(tables, model_leaderboard=board("lightgbm", "caspr_rfm_content"))
    whole = score(read, CHURN)
    monkeypatch.setattr(learners, "CHUNK_ROWS", 50)
    parts = score(read, CHURN).sort_values("customer_id", ignore_index=True)
    pd.testing.assert_frame_equal(whole, parts, check_exact=True)


def test_without_anything_measured_the_scores_rest_on_rfm_and_say_so(tables):
    scores = score(untrained(tables), CHURN)
    assert set(zip(scores["learner"], scores["representation"], strict=True)) == {("lightgbm", "rfm")}
    assert scores["note"].eq("no champion yet: auroc was not measured, or is not defined where it was").all()


@pytest.mark.parametrize(("representation", "instead"), [("caspr", "rfm"), ("caspr_rfm_content", "rfm_content")])
def test_who_has_no_embedding_is_scored_without(tables, representation, instead):
    some = tables.customer_embeddings[tables.customer_embeddings["customer_id"] >= "c00012"]
    champion = board("lightgbm", representation)
    scores = score(reading(tables, customer_embeddings=some, model_leaderboard=champion), CHURN)
    without = scores[scores["customer_id"] < "c00012"]
    assert len(scores) == 300 and len(without) == 12
    assert set(without["representation"]) == {instead}
    assert set(without["note"]) == {f"no embedding, so not scored from {representation}"}
    assert set(scores["representation"]) == {instead, representation}
    rested = score(reading(tables, model_leaderboard=board("lightgbm", instead)), CHURN)
    expected = rested.set_index("customer_id")["churn_probability"][without["customer_id"]]
    np.testing.assert_array_equal(without["churn_probability"], expected)


def test_embeddings_older_than_the_score_cutoff_leave_rfm_there(tables):
    older = tables.customer_embeddings[tables.customer_embeddings["cutoff_at"] < SCORE]
    scores = score(reading(tables, customer_embeddings=older, model_leaderboard=board("lightgbm", "caspr")), CHURN)
    assert len(scores) == 300
    assert set(scores["representation"]) == {"rfm"}


# -- customers without any activity


def with_strangers(tables, count=25, **replaced):
    known = {"customer_counts": counts_of(tables.rfm_features, count), "customers_without_activity": strangers(count)}
    return reading(tables, **(known | replaced))


@pytest.mark.parametrize("learner", learners.LEARNERS)
@pytest.mark.parametrize("task", [CHURN, LIFETIME_VALUE], ids=lambda task: task.name)
def test_who_has_no_activity_is_scored_from_the_profile_and_nobody_else_moves(tables, task, learner):
    champion = board(learner, "caspr_rfm_content")
    scores = score(with_strangers(tables, model_leaderboard=champion), task)
    mine = scores[scores["customer_id"].str.startswith("s")]
    assert scores.dtypes.astype(str).to_dict() == score_types(task)
    assert mine["customer_id"].is_unique and len(mine) == 25
    assert set(zip(mine["learner"], mine["representation"], strict=True)) == {(learner, "profile")}
    assert set(mine["note"]) == {protocol.WITHOUT_ACTIVITY}
    assert np.isfinite(mine[[one.score for one in task.targets]]).all(axis=None)
    pd.testing.assert_frame_equal(
        scores.drop(mine.index), score(reading(tables, model_leaderboard=champion), task), check_exact=True
    )


def test_what_the_profile_tells_is_what_customers_with_it_did(tables):
    labels = tables.churn_labels.merge(tables.customer_profiles, on=["customer_id", "cutoff_at"])
    labels["is_churned"] = (labels["country"] == "UK") ^ (np.arange(len(labels)) % 5 == 0)
    scores = score(with_strangers(tables, churn_labels=labels), CHURN).set_index("customer_id")["churn_probability"]
    # calibrated on a third of the 300, of whom about 33 are of a country: one standard error is 0.07
    assert scores["s00000"] == scores["s00002"] == pytest.approx(0.8, abs=0.1)
    assert scores["s00001"] == pytest.approx(0.2, abs=0.1)


def test_they_are_scored_chunk_by_chunk(tables, monkeypatch):
    asked = []
    read = with_strangers(tables)

    def counting(name, condition=""):
        asked.extend([condition] * (name == "customers_without_activity"))
        return read(name, condition)

    whole = score(counting, CHURN)
    assert len(asked) == 1
    monkeypatch.setattr(learners, "CHUNK_ROWS", 10)
    parts = score(counting, CHURN).sort_values("customer_id", ignore_index=True)
    pd.testing.assert_frame_equal(whole, parts, check_exact=True)
    assert len(asked) == 1 + 3


def test_they_are_neither_fitted_on_nor_measured(tables, evaluation):
    pd.testing.assert_frame_equal(evaluate(with_strangers(tables), CHURN), evaluation, check_exact=True)


def test_without_labels_nothing_is_said_of_them_either(tables):
    assert len(score(with_strangers(tables, churn_labels=tables.churn_labels.head(0)), CHURN)) == 0


# -- representations


def built(tables, **replaced):
    return build(reading(tables, **replaced), "", None, sorted({one for blocks in BLOCKS.values() for one in blocks}))


def test_before_the_first_training_only_what_needs_none_is_measured(tables):
    evaluation = evaluate(untrained(tables), CHURN)
    assert set(evaluation["representation"]) == {"rfm", "rfm_content"}
    assert (evaluation["note"] == "").all()


def test_customers_without_an_embedding_are_measured_and_counted(tables):
    is_left_out = tables.customer_embeddings["cutoff_at"].eq(EVALUATE) & (
        tables.customer_embeddings["customer_id"] < "c00012"
    )
    evaluation = evaluate(reading(tables, customer_embeddings=tables.customer_embeddings[~is_left_out]), CHURN)
    noted = evaluation[evaluation["representation"] == "caspr_rfm"]
    assert len(noted) == 600
    assert (noted["note"] == "embedding v1; 12 of 300 customers scored have no embedding").all()
    assert performance(evaluation, CHURN)["customers"].eq(300).all()


def test_the_version_embedded_last_is_used(tables):
    older = tables.customer_embeddings.assign(
        model_version="v9", embedded_at=pd.Timestamp("2011-07-01"), embedding=[np.zeros(3, np.float32)] * 900
    )
    both = built(tables, customer_embeddings=pd.concat([older, tables.customer_embeddings], ignore_index=True))
    assert (both.model_version, both.blocks["caspr"].shape) == ("v1", (900, WIDTH))


def test_noise_is_as_wide_as_the_embedding_and_belongs_to_the_row(tables):
    noise = built(tables).blocks["noise"]
    again = built(tables, rfm_features=tables.rfm_features.sample(frac=1, random_state=6)).blocks["noise"]
    np.testing.assert_array_equal(noise, again)
    assert noise.shape == (900, WIDTH)
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


def test_infinite_is_missing_and_text_is_left_out_with_a_note(tables):
    rfm = tables.rfm_features.assign(
        gap=tables.rfm_features["gap"].fillna(np.inf), count=1e300, colour="red", is_new=True
    )
    representations = built(tables, rfm_features=rfm)
    assert representations.ignored == ("colour",)
    assert representations.blocks["rfm"].shape == (900, 4 + 3)  # and of the profile has_profile, UK, FR
    assert not np.isinf(representations.blocks["rfm"]).any()
    evaluation = evaluate(untrained(tables, rfm_features=rfm), CHURN)
    assert evaluation["note"].eq("no numbers, so left out: colour").all()


def test_a_profile_has_a_column_for_each_of_its_commonest_values_where_was_fitted(tables):
    profiles = tables.customer_profiles.assign(
        country=np.where(tables.customer_profiles["cutoff_at"] == SCORE, "new", tables.customer_profiles["country"])
    )
    read = reading(tables, customer_profiles=profiles)
    values = protocol._profile_values(read, protocol.at_cutoffs([TRAIN]))
    assert sorted(values.commonest["country"]) == ["FR", "UK"]
    columns = values.transform(read("customer_profiles", protocol.at_cutoffs([SCORE])))
    assert columns[["country UK", "country FR"]].sum().tolist() == [0, 0]


def test_a_null_of_a_profile_is_none_of_its_values(tables):
    profiles = tables.customer_profiles.head(3).assign(country=pd.Series(["", None, "UK"], dtype="string").to_numpy())
    columns = ProfileValues().fit(profiles).transform(profiles)
    assert columns["country "].tolist() == [1, 0, 0] and columns["country UK"].tolist() == [0, 0, 1]


def test_nulls_inside_an_embedding_are_missing(tables):
    vectors = list(tables.customer_embeddings["embedding"])
    vectors[0] = np.ma.array(np.ones(WIDTH, np.float32), mask=[True] + [False] * (WIDTH - 1))
    vectors[1] = None
    representations = built(tables, customer_embeddings=tables.customer_embeddings.assign(embedding=vectors))
    assert representations.rows["customer_id"].iloc[0] == "c00000"
    assert np.isnan(representations.blocks["caspr"][0]).tolist() == [True] + [False] * (WIDTH - 1)
    assert representations.has_embedding[:3].tolist() == [True, False, True]


def test_double_keys_and_uneven_widths_are_refused_in_one_line(tables):
    twice = pd.concat([tables.rfm_features, tables.rfm_features.head(1)])
    with pytest.raises(DataError, match=r"rfm_features: customer 'c00000' at cutoff 2011-01-01.*more than once"):
        built(tables, rfm_features=twice)
    vectors = [np.ones(3, np.float32), *tables.customer_embeddings["embedding"].iloc[1:]]
    with pytest.raises(DataError, match="widths 3 and 8 within one model_version"):
        built(tables, customer_embeddings=tables.customer_embeddings.assign(embedding=vectors))


# -- little or nothing to work with


@pytest.mark.parametrize("empty", ["rfm_features", "churn_labels", "cutoffs", "all"])
@pytest.mark.parametrize("as_object", [True, False])
def test_tables_without_rows_give_empty_tables_of_the_same_types(tables, empty, as_object):
    names = vars(tables) if empty == "all" else [empty]
    bare = {name: vars(tables)[name].head(0) for name in names}
    read = reading(tables, **({name: one.astype(object) for name, one in bare.items()} if as_object else bare))
    evaluation, scores = evaluate(read, CHURN), score(read, CHURN)
    assert len(evaluation) == len(scores) == 0
    assert evaluation.dtypes.astype(str).to_dict() == evaluation_types(CHURN)
    assert scores.dtypes.astype(str).to_dict() == score_types(CHURN)


def test_without_an_evaluate_cutoff_the_newest_labels_still_score(tables):
    only = tables.cutoffs[tables.cutoffs["role"] != "evaluate"]
    assert len(evaluate(untrained(tables, cutoffs=only), CHURN)) == 0
    assert len(score(untrained(tables, cutoffs=only), CHURN)) == 300


def test_one_class_in_training_gives_the_base_rate(tables):
    labels = tables.churn_labels
    labels = labels.assign(is_churned=labels["is_churned"] & (labels["cutoff_at"] != TRAIN))
    evaluation = evaluate(untrained(tables, churn_labels=labels), CHURN)
    assert (evaluation["churn_probability"] == 0).all()
    assert evaluation["note"].str.contains("base rate: is_churned is false in every row fitted on").all()
    auroc = performance(evaluation, CHURN).query("metric == 'auroc'")
    assert auroc["value"].isna().all() and auroc["standard_error"].isna().all()
    assert auroc["note"].str.startswith("no auroc: all scores are the same").all()
    assert not auroc["is_champion"].any()


def test_few_labels_are_measured_with_a_warning_and_wide_intervals():
    few = make_tables(customers=60)
    measured = performance(evaluate(reading(few), CHURN), CHURN)
    auroc = measured[measured["metric"] == "auroc"]
    assert auroc["note"].str.contains(r"rests on \d+ labels of the rarer kind, and is unsure").all()
    assert auroc["standard_error"].gt(0.03).all()


@pytest.mark.parametrize("customers", [1, 2, 5])
def test_a_handful_of_customers_is_scored(customers):
    tables = make_tables(customers=customers)
    for task in (CHURN, LIFETIME_VALUE):
        performance(evaluate(reading(tables), task), task)
        scores = score(reading(tables, model_leaderboard=board("lightgbm", "caspr")), task)
        assert len(scores) == customers
        assert np.isfinite(scores[[one.score for one in task.targets]]).all(axis=None)


def test_columns_without_any_value_and_without_any_number_do_not_stop(tables):
    rfm = tables.rfm_features
    assert len(evaluate(untrained(tables, rfm_features=rfm.assign(gap=np.nan, empty=None)), CHURN)) == 300 * 4
    bare, nobody = rfm[["customer_id", "cutoff_at"]], tables.customer_profiles[["customer_id", "cutoff_at"]]
    scores = score(untrained(tables, rfm_features=bare, customer_profiles=nobody), CHURN)
    rate = tables.churn_labels.loc[tables.churn_labels["cutoff_at"] == EVALUATE, "is_churned"].mean()
    assert scores["churn_probability"].unique() == pytest.approx([rate])
    assert scores["note"].str.contains("no numeric feature").all()


def test_unlabelled_rows_are_neither_fitted_on_nor_measured(tables):
    labels = tables.churn_labels.assign(is_churned=tables.churn_labels["is_churned"].astype("boolean"))
    labels.loc[labels["customer_id"] < "c00050", "is_churned"] = pd.NA
    evaluation = evaluate(untrained(tables, churn_labels=labels), CHURN)
    without = evaluate(untrained(tables, churn_labels=labels.dropna(subset=["is_churned"])), CHURN)
    pd.testing.assert_frame_equal(evaluation, without)
    assert evaluation["customer_id"].nunique() == 250


# -- lifetime value


def test_lifetime_value_finds_the_planted_revenue(tables):
    evaluation = evaluate(reading(tables), LIFETIME_VALUE)
    measured = performance(evaluation, LIFETIME_VALUE)
    spread = tables.lifetime_value_labels.loc[
        tables.lifetime_value_labels["cutoff_at"] == EVALUATE, "future_revenue"
    ].std()
    for learner in learners.LEARNERS:
        assert value_of(measured, "auroc", learner, "caspr_rfm") > 0.85
        assert value_of(measured, "rmse", learner, "caspr_rfm") < spread
        assert value_of(measured, "spearman", learner, "caspr", "difference_to_rfm") > 0
        assert value_of(measured, "rmse", learner, "caspr_rfm", "difference_to_rfm") < 0
    assert measured["standard_error"].gt(0).all()
    mine = evaluation.query("learner == 'lightgbm' and representation == 'rfm'")
    expected = mean_squared_error(mine["future_revenue"], mine["predicted_revenue"]) ** 0.5
    assert value_of(measured, "rmse", "lightgbm", "rfm") == pytest.approx(expected)


def of_purchases(tables, monkeypatch, revenue):
    """The evaluation of lifetime value with a row of BG/NBD that says so much of each customer, [300]."""
    settings = tables.task_settings.assign(is_about_purchases=True)
    known = tables.rfm_features[tables.rfm_features["cutoff_at"] == EVALUATE]
    said = known[["customer_id", "cutoff_at"]].assign(churn_probability=0.5, predicted_revenue=revenue, note="r 0.2")
    monkeypatch.setattr(bg_nbd, "is_available", lambda: True)
    monkeypatch.setattr(bg_nbd, "bg_nbd_scores", lambda *_: said)
    return evaluate(untrained(tables, task_settings=settings, rfm_scores=known), LIFETIME_VALUE)


def test_bg_nbd_sees_everybody_though_few_have_a_label(tables, monkeypatch):
    """Who is at risk has bought of late: fitted on them alone it would hold everybody for a regular."""
    at_most(monkeypatch, 50)
    labels = tables.lifetime_value_labels
    at_risk = labels[labels["customer_id"].isin(numbered(300)[::10])]
    asked = {}

    def bg_nbd_scores(rows, horizon_days, rfm_period, fit_on):
        asked.update(rows=set(rows["customer_id"]), fit_on=set(fit_on["customer_id"]))
        return rows[["customer_id", "cutoff_at"]].assign(churn_probability=0.5, predicted_revenue=1.0, note="")

    monkeypatch.setattr(bg_nbd, "is_available", lambda: True)
    monkeypatch.setattr(bg_nbd, "bg_nbd_scores", bg_nbd_scores)
    known = tables.rfm_features[tables.rfm_features["cutoff_at"] == EVALUATE]
    settings = tables.task_settings.assign(is_about_purchases=True)
    marts = {"lifetime_value_labels": at_risk, "rfm_scores": known, "task_settings": settings}
    assert "bg_nbd" in set(evaluate(untrained(tables, **marts), LIFETIME_VALUE)["learner"])
    sampled = set(known["customer_id"][sample.is_sampled(known["customer_id"], 300, 50)])
    assert asked["rows"] <= set(at_risk["customer_id"]) and asked["fit_on"] == sampled and len(sampled) > 30


def test_an_expectation_is_no_probability_and_ranks_all_the_same(tables, monkeypatch):
    revenue = np.random.default_rng(7).random(300) * 100
    evaluation = of_purchases(tables, monkeypatch, revenue)
    mine = evaluation[evaluation["learner"] == "bg_nbd"]
    assert len(mine) == 300 and mine["high_value_probability"].isna().all()
    measured = performance(evaluation, LIFETIME_VALUE)
    assert measured["customers"].eq(300).all() and not measured["note"].str.contains("could not score").any()
    expected = roc_auc_score(mine["is_high_value"], mine["predicted_revenue"])
    assert value_of(measured, "auroc", "bg_nbd", "rfm") == pytest.approx(expected)


def test_who_cannot_be_scored_by_bg_nbd_is_measured_without_it(tables, monkeypatch):
    """As where Gamma-Gamma cannot be fitted: all who bought have no revenue, all others none to come."""
    evaluation = of_purchases(tables, monkeypatch, np.where(np.arange(300) < 200, np.nan, 0.0))
    assert set(evaluation["learner"]) == set(learners.LEARNERS)
    said = "bg_nbd is not measured: it gives no finite predicted_revenue of 200 of 300 customers"
    measured = performance(evaluation, LIFETIME_VALUE)
    assert measured["customers"].eq(300).all() and measured["note"].str.contains(said, regex=False).all()


def test_without_money_there_is_nothing_to_measure_and_everybody_is_worth_nothing(tables):
    labels = tables.lifetime_value_labels.assign(future_revenue=0.0, is_high_value=False)
    assert len(evaluate(untrained(tables, lifetime_value_labels=labels), LIFETIME_VALUE)) == 0
    assert (score(untrained(tables, lifetime_value_labels=labels), LIFETIME_VALUE)["predicted_revenue"] == 0).all()


# -- the package


def test_the_tasks_import_neither_torch_nor_a_warehouse():
    code = (
        "import sys, pkgutil, importlib, caspr_train.tasks as tasks\n"
        "for module in pkgutil.iter_modules(tasks.__path__):\n"
        "    importlib.import_module(f'caspr_train.tasks.{module.name}')\n"
        "print(sorted({'torch', 'duckdb', 'dbt', 'pyspark'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_models_in_several_threads_may_import_at_once():
    """As dbt does: two threads that import scikit-learn by different ways found it half made, one time in three."""
    code = (
        "import importlib, sys, threading\n"
        "failed = []\n"
        "def load(name):\n"
        "    try:\n"
        "        importlib.import_module(f'caspr_train.tasks.{name}')\n"
        "    except BaseException as error:\n"
        "        failed.append(error)\n"
        "names = ('segments', 'neighbours', 'protocol', 'recommendation')\n"
        "threads = [threading.Thread(target=load, args=(name,)) for name in names]\n"
        "[thread.start() for thread in threads], [thread.join() for thread in threads]\n"
        "sys.exit(str(failed) if failed else 0)"
    )
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

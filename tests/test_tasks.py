"""What must hold for the tasks: the protocol, the metrics, the control; on frames made here, without a database."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, mean_squared_error, roc_auc_score

from caspr_train.errors import DataError
from caspr_train.tasks import churn, learners, lifetime_value, metrics, protocol
from caspr_train.tasks.representations import build
from caspr_train.tasks.tables import performance_table

TRAIN, EVALUATE, SCORE = (pd.Timestamp(day) for day in ("2011-01-01", "2011-04-01", "2011-07-01"))
WIDTH = 8
SCORE_TYPES = {
    "customer_id": "string",
    "cutoff_at": "datetime64[us]",
    "cutoff_role": "string",
    "learner": "string",
    "representation": "string",
    "is_control": "bool",
    "churn_probability": "float64",
    "note": "string",
    "is_churn_predicted": "bool",
}


def make_tables(customers=300, seed=0, strength=1.5):
    """The marts as the scorer sees them. Recency tells a little of churn and revenue; the embedding tells more."""
    rng = np.random.default_rng(seed)
    cutoffs = pd.DataFrame(
        {
            "cutoff_at": [TRAIN, EVALUATE, SCORE],
            "role": ["train", "evaluate", "score"],
            "horizon_ends_at": [EVALUATE, SCORE, SCORE + (SCORE - EVALUATE)],
            "has_labels": [True, True, False],
        }
    )
    keys = pd.DataFrame(
        {
            "customer_id": np.tile([f"c{number:05d}" for number in range(customers)], 3),
            "cutoff_at": np.repeat(cutoffs["cutoff_at"].to_numpy(), customers),
        }
    )
    n = len(keys)
    recency, hidden = rng.normal(size=n), rng.normal(size=n)
    embedding = rng.normal(size=(n, WIDTH)).astype(np.float32)
    embedding[:, 0] = hidden
    score = 0.7 * recency + strength * hidden + rng.normal(size=n)
    revenue = np.exp(1 - score / 2)
    is_high_value = revenue > np.quantile(revenue, 0.8)
    labels = keys.assign(is_churned=score > 0, future_revenue=revenue, is_high_value=is_high_value)
    labels = labels[labels["cutoff_at"] < SCORE].reset_index(drop=True)
    rfm = keys.assign(recency=recency, count=rng.poisson(3, n), gap=np.where(rng.random(n) < 0.2, np.nan, recency**2))
    embeddings = keys.assign(model_version="v1", embedding=list(embedding), embedded_at=pd.Timestamp("2011-07-02"))
    return SimpleNamespace(rfm=rfm, embeddings=embeddings, labels=labels, cutoffs=cutoffs)


def churn_scores(tables):
    return churn.score(tables.rfm, tables.embeddings, tables.labels, tables.cutoffs)


def rfm_scores(tables, **replaced):
    """As before the first training: four times as quick, for what does not depend on the representation."""
    parts = {**vars(tables), "embeddings": tables.embeddings.head(0), **replaced}
    return churn_scores(SimpleNamespace(**parts))


def value_of(performance, metric, learner, representation):
    row = performance.query("metric == @metric and learner == @learner and representation == @representation")
    return row["value"].item()


@pytest.fixture(scope="module")
def tables():
    return make_tables()


@pytest.fixture(scope="module")
def scores(tables):
    return churn_scores(tables)


# -- protocol


def test_every_customer_is_scored_once_by_learner_and_representation(tables, scores):
    assert scores.dtypes.astype(str).to_dict() == SCORE_TYPES
    keys = ["customer_id", "cutoff_at", "learner", "representation"]
    assert not scores.duplicated(keys).any()
    sizes = scores.groupby(["cutoff_role", "cutoff_at", "learner", "representation"]).size()
    assert sizes.unique().tolist() == [300]
    assert len(sizes) == 2 * 2 * 4  # roles, learners, representations
    assert set(scores["cutoff_role"]) == {"evaluate", "score"}
    assert scores["churn_probability"].between(0, 1).all()
    assert (scores["is_churn_predicted"] == (scores["churn_probability"] >= 0.5)).all()
    assert (scores["is_control"] == (scores["representation"] == "rfm_noise")).all()


def test_an_embedding_with_a_signal_raises_auroc_and_noise_does_not_to_that_degree(tables, scores):
    performance = churn.performance(scores, tables.labels)
    for learner in learners.LEARNERS:
        rfm = value_of(performance, "auroc", learner, "rfm")
        assert value_of(performance, "auroc", learner, "caspr") > rfm + 0.1
        assert value_of(performance, "auroc", learner, "caspr_rfm") > rfm + 0.1
        assert abs(value_of(performance, "auroc", learner, "rfm_noise") - rfm) < 0.1


def test_same_tables_in_any_order_of_rows_give_the_same_scores_bit_for_bit(tables, scores):
    shuffled = SimpleNamespace(
        rfm=tables.rfm.sample(frac=1, random_state=1),
        embeddings=tables.embeddings.sample(frac=1, random_state=2),
        labels=tables.labels.sample(frac=1, random_state=3),
        cutoffs=tables.cutoffs.sample(frac=1, random_state=4),
    )
    again = churn_scores(shuffled)
    pd.testing.assert_frame_equal(scores, again, check_exact=True)
    pd.testing.assert_frame_equal(
        churn.performance(scores, tables.labels),
        churn.performance(again.sample(frac=1, random_state=5), shuffled.labels),
        check_exact=True,
    )


@pytest.mark.parametrize(
    ("learner", "kind"), [("random_forest", "boolean"), ("random_forest", "number"), ("lightgbm", "number")]
)
def test_the_number_of_threads_does_not_move_a_bit(learner, kind, monkeypatch):
    rng = np.random.default_rng(11)
    x = rng.normal(size=(10_000 if learner == "lightgbm" else 500, 3)).astype(np.float32).round(1)
    y = x.sum(axis=1) + rng.normal(size=len(x))
    scores = []
    for threads in (1, 2):
        monkeypatch.setattr(learners, "worker_threads", lambda threads=threads: threads)
        scores.append(learners.fit(learner, x, y > 0 if kind == "boolean" else y)(x[:500]))
    np.testing.assert_array_equal(*scores)


def test_scores_do_not_depend_on_the_chunks_they_are_made_in(tables, scores, monkeypatch):
    monkeypatch.setattr(learners, "CHUNK_ROWS", 70)
    pd.testing.assert_frame_equal(scores, churn_scores(tables), check_exact=True)


def test_evaluate_scores_never_see_evaluate_labels_and_score_scores_see_only_them(tables, scores):
    def with_labels_turned(at):
        turned = tables.labels.assign(is_churned=tables.labels["is_churned"] ^ (tables.labels["cutoff_at"] == at))
        return churn.score(tables.rfm, tables.embeddings, turned, tables.cutoffs)

    def of_role(frame, role):
        return frame.loc[frame["cutoff_role"] == role, "churn_probability"].to_numpy()

    evaluate_turned, train_turned = with_labels_turned(EVALUATE), with_labels_turned(TRAIN)
    np.testing.assert_array_equal(of_role(evaluate_turned, "evaluate"), of_role(scores, "evaluate"))
    np.testing.assert_array_equal(of_role(train_turned, "score"), of_role(scores, "score"))
    assert np.corrcoef(of_role(evaluate_turned, "score"), of_role(scores, "score"))[0, 1] < -0.5
    assert np.corrcoef(of_role(train_turned, "evaluate"), of_role(scores, "evaluate"))[0, 1] < -0.5


def test_labels_of_the_score_cutoff_are_never_fitted_on(tables):
    leaked = tables.rfm.loc[tables.rfm["cutoff_at"] == SCORE, ["customer_id", "cutoff_at"]].assign(is_churned=True)
    labels = pd.concat([tables.labels, leaked], ignore_index=True)
    pd.testing.assert_frame_equal(rfm_scores(tables), rfm_scores(tables, labels=labels), check_exact=True)


def test_a_train_window_that_reaches_past_the_evaluate_cutoff_is_refused(tables):
    cutoffs = tables.cutoffs.assign(horizon_ends_at=tables.cutoffs["horizon_ends_at"] + pd.Timedelta("1us"))
    with pytest.raises(DataError, match=r"train cutoff 2011-01-01.*expected to end by the evaluate cutoff 2011-04-01"):
        churn.score(tables.rfm, tables.embeddings, tables.labels, cutoffs)


def test_several_train_cutoffs_are_stacked(tables):
    earlier = TRAIN - (EVALUATE - TRAIN)

    def also_earlier(frame):
        return pd.concat([frame[frame["cutoff_at"] == TRAIN].assign(cutoff_at=earlier), frame], ignore_index=True)

    cutoffs = also_earlier(tables.cutoffs)
    cutoffs.loc[0, "horizon_ends_at"] = TRAIN
    turns = protocol.rounds(cutoffs, also_earlier(tables.labels))
    expected = [("evaluate", [earlier, TRAIN]), ("score", [TRAIN, EVALUATE])]
    assert [(turn.role, turn.fit_cutoffs) for turn in turns] == expected


def test_too_many_rows_are_sampled_and_said_so(tables, monkeypatch):
    monkeypatch.setattr(protocol, "MAXIMUM_FIT_ROWS", 100)
    scores = rfm_scores(tables)
    assert (scores.groupby(["cutoff_role", "learner", "representation"]).size() == 300).all()
    assert scores["note"].str.contains("fitted on a sample of 100 of 300 rows").all()


# -- representations


def test_before_the_first_training_only_rfm_is_scored(tables):
    scores = rfm_scores(tables, embeddings=pd.DataFrame({name: [] for name in tables.embeddings.columns}))
    assert set(scores["representation"]) == {"rfm"}
    assert (scores["note"] == "").all()


def test_embeddings_older_than_the_score_cutoff_leave_rfm_there_and_say_why(tables):
    older = tables.embeddings[tables.embeddings["cutoff_at"] < SCORE]
    scores = churn.score(tables.rfm, older, tables.labels, tables.cutoffs)
    at_score = scores[scores["cutoff_role"] == "score"]
    assert set(at_score["representation"]) == {"rfm"}
    assert at_score["note"].str.contains("embedding v1 has no customer here").all()
    assert scores.loc[scores["cutoff_role"] == "evaluate", "representation"].nunique() == 4


def test_customers_without_an_embedding_are_scored_and_counted(tables):
    is_left_out = (tables.embeddings["cutoff_at"] == EVALUATE) & (tables.embeddings["customer_id"] < "c00012")
    some = tables.embeddings[~is_left_out]
    scores = churn.score(tables.rfm, some, tables.labels, tables.cutoffs)
    at_evaluate = scores[(scores["cutoff_role"] == "evaluate") & (scores["representation"] == "caspr_rfm")]
    assert len(at_evaluate) == 600
    assert (at_evaluate["note"] == "embedding v1; 12 of 300 customers scored have no embedding").all()
    assert churn.performance(scores, tables.labels)["customers"].eq(300).all()


def test_the_version_embedded_last_is_used(tables):
    older = tables.embeddings.assign(
        model_version="v9", embedded_at=pd.Timestamp("2011-07-01"), embedding=[np.zeros(3, np.float32)] * 900
    )
    representations = build(tables.rfm, pd.concat([older, tables.embeddings], ignore_index=True))
    assert (representations.model_version, representations.embedding.shape) == ("v1", (900, WIDTH))


def test_noise_is_as_wide_as_the_embedding_and_belongs_to_the_row(tables):
    representations = build(tables.rfm, tables.embeddings)
    again = build(tables.rfm.sample(frac=1, random_state=6), tables.embeddings)
    np.testing.assert_array_equal(representations.noise, again.noise)
    assert representations.noise.shape == (900, WIDTH)
    assert abs(representations.noise.mean()) < 0.05
    assert abs(representations.noise.std() - 1) < 0.05


def test_infinite_is_missing_and_text_is_left_out_with_a_note(tables):
    rfm = tables.rfm.assign(gap=tables.rfm["gap"].fillna(np.inf), count=1e300, country="UK", is_new=True)
    representations = build(rfm, tables.embeddings)
    assert representations.ignored == ("country",)
    assert representations.rfm.shape == (900, 4)
    assert not np.isinf(representations.rfm).any()
    scores = churn.score(rfm, tables.embeddings, tables.labels, tables.cutoffs)
    assert scores.loc[scores["representation"] == "rfm", "note"].eq("no numbers, so left out: country").all()


def test_nulls_inside_an_embedding_are_missing(tables):
    vectors = list(tables.embeddings["embedding"])
    order = build(tables.rfm, tables.embeddings).rows
    vectors[0] = np.ma.array(np.ones(WIDTH, np.float32), mask=[True] + [False] * (WIDTH - 1))
    vectors[1] = None
    representations = build(tables.rfm, tables.embeddings.assign(embedding=vectors))
    assert order["customer_id"].iloc[0] == "c00000"
    assert np.isnan(representations.embedding[0]).tolist() == [True] + [False] * (WIDTH - 1)
    assert representations.has_embedding[:3].tolist() == [True, False, True]


def test_double_keys_and_uneven_widths_are_refused_in_one_line(tables):
    with pytest.raises(DataError, match=r"rfm_features: customer 'c00000' at cutoff 2011-01-01.*more than once"):
        build(pd.concat([tables.rfm, tables.rfm.head(1)]), tables.embeddings)
    vectors = [np.ones(3, np.float32), *tables.embeddings["embedding"].iloc[1:]]
    with pytest.raises(DataError, match="widths 3 and 8 within one model_version"):
        build(tables.rfm, tables.embeddings.assign(embedding=vectors))


# -- little or nothing to work with


@pytest.mark.parametrize("empty", ["rfm", "labels", "cutoffs", "all"])
@pytest.mark.parametrize("as_object", [True, False])
def test_tables_without_rows_give_empty_tables_of_the_same_types(tables, empty, as_object):
    parts = vars(tables).copy()
    for name in parts if empty == "all" else [empty]:
        parts[name] = parts[name].head(0).astype(object) if as_object else parts[name].head(0)
    scores = churn_scores(SimpleNamespace(**parts))
    assert len(scores) == 0
    assert scores.dtypes.astype(str).to_dict() == SCORE_TYPES
    performance = churn.performance(scores, parts["labels"])
    assert performance.dtypes.astype(str).to_dict() == metrics.PERFORMANCE_TYPES
    assert len(performance) == 0
    assert "No performance yet" in performance_table(performance)
    values = lifetime_value.score(parts["rfm"], parts["embeddings"], parts["labels"], parts["cutoffs"])
    assert len(lifetime_value.performance(values, parts["labels"])) == 0


def test_without_an_evaluate_cutoff_the_newest_labels_still_score(tables):
    cutoffs = tables.cutoffs[tables.cutoffs["role"] != "evaluate"]
    labels = tables.labels[tables.labels["cutoff_at"] == TRAIN]
    scores = churn.score(tables.rfm, tables.embeddings, labels, cutoffs)
    assert set(scores["cutoff_role"]) == {"score"}
    assert len(churn.performance(scores, labels)) == 0


def test_one_class_in_training_gives_the_base_rate_and_no_auroc(tables):
    labels = tables.labels.assign(is_churned=tables.labels["is_churned"] & (tables.labels["cutoff_at"] != TRAIN))
    scores = churn.score(tables.rfm, tables.embeddings, labels, tables.cutoffs)
    at_evaluate = scores[scores["cutoff_role"] == "evaluate"]
    assert (at_evaluate["churn_probability"] == 0).all()
    assert at_evaluate["note"].str.contains("base rate: is_churned is false in every row fitted on").all()
    performance = churn.performance(scores, labels)
    auroc = performance[performance["metric"] == "auroc"]
    assert auroc["value"].isna().all() and auroc["standard_error"].isna().all()
    assert auroc["note"].str.startswith("no auroc: all scores are the same").all()
    assert "churn " in performance_table(performance)


@pytest.mark.parametrize("customers", [1, 2, 5])
def test_a_handful_of_customers_is_scored(customers):
    tables = make_tables(customers=customers)
    scores = churn_scores(tables)
    assert len(scores) == customers * 2 * 2 * 4
    churn.performance(scores, tables.labels)
    values = lifetime_value.score(tables.rfm, tables.embeddings, tables.labels, tables.cutoffs)
    assert np.isfinite(values["predicted_revenue"]).all()
    assert len(lifetime_value.performance(values, tables.labels)) == 4 * 2 * 4


def test_columns_without_any_value_and_without_any_number_do_not_stop(tables):
    scores = rfm_scores(tables, rfm=tables.rfm.assign(gap=np.nan, empty=None))
    assert len(scores) == 300 * 2 * 2
    bare = rfm_scores(tables, rfm=tables.rfm[["customer_id", "cutoff_at"]])
    rfm = bare[(bare["representation"] == "rfm") & (bare["cutoff_role"] == "score")]
    at_evaluate = tables.labels.loc[tables.labels["cutoff_at"] == EVALUATE, "is_churned"]
    assert rfm["churn_probability"].unique() == pytest.approx([at_evaluate.mean()])
    assert rfm["note"].str.contains("no numeric feature").all()


def test_unlabelled_rows_are_not_fitted_on(tables):
    labels = tables.labels.assign(is_churned=tables.labels["is_churned"].astype("boolean"))
    labels.loc[labels["customer_id"] < "c00050", "is_churned"] = pd.NA
    without = labels.dropna(subset=["is_churned"])
    scores = rfm_scores(tables, labels=labels)
    pd.testing.assert_frame_equal(scores, rfm_scores(tables, labels=without))
    assert churn.performance(scores, labels)["customers"].eq(250).all()


# -- lifetime value


def test_lifetime_value_finds_the_planted_revenue(tables):
    scores = lifetime_value.score(tables.rfm, tables.embeddings, tables.labels, tables.cutoffs)
    performance = lifetime_value.performance(scores, tables.labels)
    spread = tables.labels.loc[tables.labels["cutoff_at"] == EVALUATE, "future_revenue"].std()
    for learner in learners.LEARNERS:
        assert value_of(performance, "auroc", learner, "caspr_rfm") > 0.85
        assert value_of(performance, "rmse", learner, "caspr_rfm") < spread
        assert value_of(performance, "spearman", learner, "caspr") > value_of(performance, "spearman", learner, "rfm")
    assert performance["standard_error"].gt(0).all()
    row = performance.query("metric == 'rmse' and learner == 'lightgbm' and representation == 'rfm'")
    joined = scores.query("learner == 'lightgbm' and representation == 'rfm' and cutoff_role == 'evaluate'").merge(
        tables.labels.astype({"customer_id": "string"}), on=["customer_id", "cutoff_at"]
    )
    expected = mean_squared_error(joined["future_revenue"], joined["predicted_revenue"]) ** 0.5
    assert row["value"].item() == pytest.approx(expected)


# -- metrics


@pytest.mark.parametrize("decimals", [1, 8])  # with many ties, and with none
def test_auroc_and_f1_are_those_of_scikit_learn(decimals):
    rng = np.random.default_rng(7)
    label = rng.random(500) < 0.3
    score = np.round(0.5 * label + rng.random(500), decimals)
    assert metrics.auroc(label, score)(np.ones(500)) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert metrics.f1(label, score > 0.8)(np.ones(500)) == pytest.approx(f1_score(label, score > 0.8), abs=1e-12)
    weights = rng.integers(0, 4, 500).astype(float)
    assert metrics.auroc(label, score)(weights) == pytest.approx(roc_auc_score(label, score, sample_weight=weights))
    assert metrics.f1(label, score > 0.8)(weights) == pytest.approx(f1_score(label, score > 0.8, sample_weight=weights))


def test_spearman_is_that_of_pandas():
    rng = np.random.default_rng(8)
    x = np.round(rng.normal(size=200), 1)
    y = x + rng.normal(size=200)
    expected = pd.Series(x).rank().corr(pd.Series(y).rank())
    assert metrics.spearman(x, y)(np.ones(200)) == pytest.approx(expected)


def test_bootstrap_errors_are_close_to_the_analytic_ones():
    rng = np.random.default_rng(9)
    n = 4000
    label = rng.random(n) < 0.4
    score = label + rng.normal(size=n)
    error = rng.normal(size=n)
    estimates = metrics.estimate(
        {"auroc": metrics.auroc(label, score), "rmse": metrics.rmse(np.zeros(n), error)}, customers=n
    )
    # DeLong: the variances of the placements of positives among negatives, and of negatives among positives
    positives, negatives = score[label], score[~label]
    wins = (positives[:, None] > negatives[None, :]).astype(float)
    delong = np.sqrt(wins.mean(1).var() / len(positives) + wins.mean(0).var() / len(negatives))
    # the delta method: sd(e^2) / (2 rmse sqrt(n))
    delta = np.square(error).std() / (2 * estimates["rmse"][0] * np.sqrt(n))
    assert estimates["auroc"][1] == pytest.approx(delong, rel=0.2)
    assert estimates["rmse"][1] == pytest.approx(delta, rel=0.2)


def test_performance_says_the_threshold_and_the_customers(tables, scores):
    performance = churn.performance(scores, tables.labels)
    assert performance.dtypes.astype(str).to_dict() == metrics.PERFORMANCE_TYPES
    assert performance.loc[performance["metric"] == "f1", "note"].str.contains("churning class, threshold 0.5").all()
    assert performance["customers"].eq(300).all()
    assert performance["cutoff_at"].eq(EVALUATE).all()
    assert len(performance) == 2 * 2 * 4


# -- the table for the terminal


def test_the_table_has_a_line_a_metric_and_learner_and_a_column_a_representation(tables, scores):
    performance = churn.performance(scores, tables.labels)
    text = performance_table(performance.sample(frac=1, random_state=10))
    assert text == performance_table(performance)
    header, _, *lines = text.splitlines()
    names = ["task", "metric", "learner", "cutoff", "customers"]
    assert header.split() == [*names, "rfm", "caspr", "caspr_rfm", "rfm_noise"]
    assert [line.split()[1:3] for line in lines[:4]] == [
        ["auroc", "random_forest"],
        ["auroc", "lightgbm"],
        ["f1", "random_forest"],
        ["f1", "lightgbm"],
    ]
    rfm = performance.query("metric == 'auroc' and learner == 'random_forest' and representation == 'rfm'").iloc[0]
    assert f"{100 * rfm['value']:.1f} ± {100 * rfm['standard_error']:.1f}" in lines[0]
    assert "churn, caspr, caspr_rfm: embedding v1" in lines


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

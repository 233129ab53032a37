"""What must hold for the metrics, their intervals, the champion, and the table for the terminal."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score

from caspr_train.scoring import _leaderboard, answers
from caspr_train.tasks import metrics
from caspr_train.tasks import performance as measuring
from caspr_train.tasks.churn import CHURN
from caspr_train.tasks.performance import PERFORMANCE_TYPES, champion, performance
from caspr_train.tasks.protocol import evaluation_types
from caspr_train.tasks.tables import performance_table

EVALUATE = pd.Timestamp("2011-04-01")


def made(scores, churned, seed=1, learner="lightgbm", at=EVALUATE):
    """An evaluation: {representation: [n] probability} of the same customers."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "customer_id": [f"c{place:04d}" for place in range(len(churned))],
                    "cutoff_at": at,
                    "seed": seed,
                    "learner": learner,
                    "representation": name,
                    "is_control": name.startswith("rfm_n"),
                    "is_churned": churned,
                    "churn_probability": score,
                    "note": "",
                }
            )
            for name, score in scores.items()
        ],
        ignore_index=True,
    ).astype(evaluation_types(CHURN))


@pytest.fixture(scope="module")
def evaluation():
    rng = np.random.default_rng(1)
    churned = rng.random(800) < 0.4
    weak = np.clip(0.3 * churned + rng.random(800) * 0.7, 0, 1)
    strong = np.clip(0.6 * churned + rng.random(800) * 0.4, 0, 1)
    noisy = np.clip(weak + rng.normal(0, 0.01, 800), 0, 1)
    return made({"rfm": weak, "caspr_rfm": strong, "caspr_rfm_content": strong, "rfm_noise": noisy}, churned)


# -- metrics


@pytest.mark.parametrize("decimals", [1, 8])  # with many ties, and with none
def test_auroc_f1_and_brier_are_those_of_scikit_learn(decimals):
    rng = np.random.default_rng(7)
    label = rng.random(500) < 0.3
    score = np.round(0.5 * label + rng.random(500), decimals)
    weights = rng.integers(0, 4, 500).astype(float)
    for weight in (np.ones(500), weights):
        expected = roc_auc_score(label, score, sample_weight=weight)
        assert metrics.auroc(label, score)(weight) == pytest.approx(expected, abs=1e-12)
        expected = f1_score(label, score > 0.8, sample_weight=weight)
        assert metrics.f1(label, score > 0.8)(weight) == pytest.approx(expected, abs=1e-12)
        expected = brier_score_loss(label, score / 2, sample_weight=weight)
        assert metrics.brier(label, score / 2)(weight) == pytest.approx(expected, abs=1e-12)


def test_spearman_is_that_of_pandas():
    rng = np.random.default_rng(8)
    x = np.round(rng.normal(size=200), 1)
    y = x + rng.normal(size=200)
    expected = pd.Series(x).rank().corr(pd.Series(y).rank())
    assert metrics.spearman(x, y)(np.ones(200)) == pytest.approx(expected)


# -- errors and intervals


def test_bootstrap_errors_are_close_to_the_analytic_ones():
    rng = np.random.default_rng(9)
    n = 4000
    label = rng.random(n) < 0.4
    score = label + rng.normal(size=n)
    error = rng.normal(size=n)
    drawn = measuring.replicates(
        [{"auroc": metrics.auroc(label, score), "rmse": metrics.rmse(np.zeros(n), error)}], customers=n
    )
    # DeLong: the variances of the placements of positives among negatives, and of negatives among positives
    positives, negatives = score[label], score[~label]
    wins = (positives[:, None] > negatives[None, :]).astype(float)
    delong = np.sqrt(wins.mean(1).var() / len(positives) + wins.mean(0).var() / len(negatives))
    # the delta method: sd(e^2) / (2 rmse sqrt(n))
    delta = np.square(error).std() / (2 * np.sqrt(np.square(error).mean()) * np.sqrt(n))
    assert drawn["auroc"].std() == pytest.approx(delong, rel=0.15)
    assert drawn["rmse"].std() == pytest.approx(delta, rel=0.15)


def test_a_difference_is_paired(evaluation):
    """The noisy copy of rfm is as good on every draw, though each of the two is unsure by itself."""
    measured = performance(evaluation, CHURN).query("metric == 'auroc'").set_index("representation")
    copy = measured.loc["rfm_noise"]
    width = copy["difference_to_rfm_high"] - copy["difference_to_rfm_low"]
    assert copy["difference_to_rfm_low"] < 0 < copy["difference_to_rfm_high"]
    assert width < measured.loc["rfm", "standard_error"]
    better = measured.loc["caspr_rfm"]
    assert better["difference_to_rfm"] == pytest.approx(better["value"] - measured.loc["rfm", "value"])
    assert better["difference_to_rfm_low"] > 0.05
    assert better["best_control"] == "rfm_noise"
    assert better["difference_to_control_low"] > 0.05
    assert pd.isna(copy["best_control"]) and np.isnan(measured.loc["rfm", "difference_to_rfm"])


def test_the_difference_to_the_engineered_features_is_paired_and_of_the_same_learner():
    rng = np.random.default_rng(4)
    churned = rng.random(800) < 0.4
    weak, strong = (np.clip(share * churned + rng.random(800) * (1 - share), 0, 1) for share in (0.15, 0.35))
    alike = np.clip(strong + rng.normal(0, 0.01, 800), 0, 1)
    frames = [
        made({"rfm": weak, "rfm_content": strong, "caspr_rfm_content": alike}, churned),
        made({"rfm": weak, "rfm_content": weak, "caspr_rfm_content": strong}, churned, learner="random_forest"),
    ]
    measured = performance(pd.concat(frames, ignore_index=True), CHURN)
    of = measured.set_index(["metric", "learner", "representation"])
    mine, content = of.loc[("auroc", "lightgbm", "caspr_rfm_content")], of.loc[("auroc", "lightgbm", "rfm_content")]
    assert mine["difference_to_rfm_content"] == pytest.approx(mine["value"] - content["value"])
    width = mine["difference_to_rfm_content_high"] - mine["difference_to_rfm_content_low"]
    assert mine["difference_to_rfm_content_low"] < 0 < mine["difference_to_rfm_content_high"]
    assert width < content["standard_error"]
    assert of.loc[("auroc", "random_forest", "caspr_rfm_content"), "difference_to_rfm_content_low"] > 0.05
    # lower is better of the Brier score; a difference is a difference
    assert of.loc[("brier", "random_forest", "caspr_rfm_content"), "difference_to_rfm_content_high"] < 0
    assert of.xs("rfm_content", level="representation")["difference_to_rfm_content"].isna().all()
    assert of.xs("rfm", level="representation")["difference_to_rfm_content"].notna().all()
    # the table has a line for it, and is no wider
    text = performance_table(measured)
    (line,) = (line for line in text.splitlines() if "less rfm_content" in line)
    low, high = (f"{100 * mine[f'difference_to_rfm_content_{end}']:+.1f}" for end in ("low", "high"))
    assert line.startswith("   caspr_rfm_content less rfm_content: random_forest auroc +")
    assert line.endswith(f", lightgbm auroc {100 * mine['difference_to_rfm_content']:+.1f} [{low}, {high}]")
    assert len(line) <= 120 and "rfm_content" not in text.splitlines()[1]


def test_several_seeds_are_averaged_and_widen_the_error():
    rng = np.random.default_rng(2)
    churned = rng.random(2000) < 0.4
    signals = [0.2, 0.4, 0.6, 0.8, 1.0]
    seeds = [
        made({"rfm": np.clip(signal * churned + rng.random(2000), 0, 1)}, churned, seed)
        for seed, signal in enumerate(signals, 1)
    ]
    alone = [performance(one, CHURN).query("metric == 'auroc'")["value"].item() for one in seeds]
    row = performance(pd.concat(seeds), CHURN).query("metric == 'auroc'").iloc[0]
    assert row["seeds"] == 5
    assert row["value"] == pytest.approx(np.mean(alone))
    assert row["seed_standard_error"] == pytest.approx(np.std(alone, ddof=1) / 5**0.5)
    assert row["standard_error"] == pytest.approx(row["seed_standard_error"], rel=0.25)  # the seeds differ most here


def test_what_one_learner_could_not_score_is_left_out_of_all(evaluation):
    without = evaluation.copy()
    without.loc[without.query("representation == 'rfm'").index[:10], "churn_probability"] = np.nan
    measured = performance(without, CHURN)
    assert measured["customers"].eq(790).all()
    said = "without 10 customers whom lightgbm on rfm could not score"
    assert measured["note"].str.endswith(said).all() and said in performance_table(measured)
    assert not performance(evaluation, CHURN)["note"].str.contains("could not score").any()


def test_the_table_of_performance_has_its_types_with_and_without_rows(evaluation):
    for rows in (evaluation, evaluation.head(0)):
        measured = performance(rows, CHURN)
        assert measured.dtypes.astype(str).to_dict() == PERFORMANCE_TYPES
    assert "No performance yet" in performance_table(measured)


# -- the champion


def test_the_champion_is_the_simplest_that_nothing_beats_significantly(evaluation):
    chosen = performance(evaluation, CHURN).query("is_champion")
    assert set(chosen["representation"]) == {"caspr_rfm"}  # with content is as good, and not as simple
    assert set(chosen["metric"]) == {"auroc", "brier", "f1"}


def test_a_control_is_never_champion_and_the_newest_cutoff_decides(evaluation):
    rng = np.random.default_rng(3)
    churned = rng.random(800) < 0.4
    newest = made({"rfm": rng.random(800), "rfm_noise": churned * 1.0}, churned, at=EVALUATE + pd.Timedelta("90D"))
    measured = performance(pd.concat([evaluation, newest]), CHURN)
    chosen = measured[measured["is_champion"]]
    assert set(zip(chosen["cutoff_at"], chosen["representation"], strict=True)) == {
        (EVALUATE + pd.Timedelta("90D"), "rfm")
    }


def test_of_a_representation_the_better_learner_stands():
    drawn = {("random_forest", "rfm"): np.zeros(9), ("lightgbm", "rfm"): np.ones(9), ("lightgbm", "caspr"): np.ones(9)}
    assert champion({key: drawn[key].mean() for key in drawn}, drawn) == ("lightgbm", "rfm")
    drawn["bg_nbd", "rfm"] = np.full(9, 2.0)  # no learner that predicts here
    assert champion({key: drawn[key].mean() for key in drawn}, drawn) == ("lightgbm", "rfm")
    assert champion({("lightgbm", "rfm"): np.nan}, drawn) == ("", "")


def test_an_evaluation_of_other_cutoffs_names_no_second_champion():
    """As models/predictions/model_performance.yml says of the same rows, where dbt scores by itself."""

    def rows(representation, *of):
        columns = ["task", "cutoff_at", "is_champion"]
        found = pd.DataFrame(of, columns=columns).assign(
            learner="lightgbm", representation=representation, is_headline=True
        )
        return found.assign(cutoff_at=pd.to_datetime(found["cutoff_at"]).astype("datetime64[us]"))

    measured = rows(
        "rfm",
        ("churn", "2025-03-02", True),
        ("revenue", "2025-03-01", True),
        ("fraud", "2025-02-02", False),
        ("fraud", "2025-03-01", True),
    )
    evaluations = rows(
        "caspr",
        ("churn", "2025-03-01", True),
        ("revenue", "2025-03-01", False),
        ("revenue", "2025-04-01", True),
        ("fraud", "2025-02-01", False),
        ("fraud", "2025-03-01", True),
    )
    found = _leaderboard(measured, evaluations, {})
    assert dict(zip(found["task"], found["representation"], strict=True)) == {
        "churn": "rfm",
        "revenue": "rfm",
        "fraud": "caspr",
    }
    assert len(found) == 3
    alone = _leaderboard(measured, evaluations.head(0), {})
    assert sorted(alone["task"]) == ["churn", "fraud", "revenue"] and set(alone["representation"]) == {"rfm"}


def test_an_evaluation_counts_while_its_task_asks_the_same():
    known = pd.DataFrame(
        {
            "task": ["churn", "churn", "fraud", "fraud", "churn"],
            "settings_hash": ["now", "then", "now", "else", None],
        }
    )
    assert answers(known, {"churn": "now", "fraud": "else"}).tolist() == [True, False, False, True, False]


# -- the table for the terminal


def test_the_table_shows_values_differences_controls_and_the_champion(evaluation):
    measured = performance(evaluation, CHURN)
    text = performance_table(measured.sample(frac=1, random_state=10))
    assert text == performance_table(measured)
    title, header, rule, *lines = text.splitlines()
    assert title == "churn at 2011-04-01, 800 customers, 1 seed"
    assert header.split() == [
        "learner",
        "representation",
        "auroc",
        "less",
        "rfm",
        "less",
        "best",
        "control",
        "brier",
        "f1",
    ]
    assert lines[1].startswith("*  lightgbm  caspr_rfm ")
    assert lines[3] == rule and lines[4].split()[1] == "rfm_noise"
    row = measured.query("metric == 'auroc' and representation == 'caspr_rfm'").iloc[0]
    assert f"{100 * row['value']:.1f} ± {100 * row['standard_error']:.1f}" in lines[1]
    low, high = (f"{100 * row[f'difference_to_rfm_{end}']:+.1f}" for end in ("low", "high"))
    assert f"{100 * row['difference_to_rfm']:+.1f} [{low}, {high}]" in lines[1]
    assert "churning class, threshold 0.5" in text


def test_an_encoder_fine_tuned_is_compared_with_the_best_learner_on_rfm_and_is_no_champion():
    rng = np.random.default_rng(2)
    churned = rng.random(600) < 0.5
    weak, strong, best = (np.clip(share * churned + rng.random(600) * (1 - share), 0, 1) for share in (0.2, 0.3, 0.7))
    frames = [
        made({"rfm": weak, "rfm_noise": weak}, churned, learner="lightgbm"),
        made({"rfm": strong, "rfm_noise": strong}, churned, learner="random_forest"),
        made({"caspr_finetuned": best}, churned, learner="finetuned"),
    ]
    found = performance(pd.concat(frames, ignore_index=True), CHURN).query("metric == 'auroc'")
    value = found.set_index(["learner", "representation"])["value"]
    (mine,) = found[found["learner"] == "finetuned"].itertuples()
    assert mine.difference_to_rfm == pytest.approx(mine.value - value["random_forest", "rfm"])
    assert mine.difference_to_rfm_low > 0 and mine.best_control == "rfm_noise" and not mine.is_champion


def test_bg_nbd_is_compared_with_the_best_learner_on_rfm_and_nobody_with_it():
    rng = np.random.default_rng(5)
    churned = rng.random(600) < 0.5
    weak, strong, best = (np.clip(share * churned + rng.random(600) * (1 - share), 0, 1) for share in (0.2, 0.3, 0.7))
    frames = [
        made({"rfm": weak, "rfm_noise": strong}, churned, learner="lightgbm"),
        made({"rfm": strong, "rfm_noise": weak}, churned, learner="random_forest"),
        made({"rfm": best}, churned, learner="bg_nbd"),
        made({"caspr_finetuned": best}, churned, learner="finetuned"),
    ]
    found = performance(pd.concat(frames, ignore_index=True), CHURN).query("metric == 'auroc'")
    of = found.set_index(["learner", "representation"])
    for outside in (("bg_nbd", "rfm"), ("finetuned", "caspr_finetuned")):
        mine = of.loc[outside]
        assert mine["difference_to_rfm"] == pytest.approx(mine["value"] - of.loc[("random_forest", "rfm"), "value"])
        assert 0 < mine["difference_to_rfm_low"] < mine["difference_to_rfm"] < mine["difference_to_rfm_high"]
        assert mine["best_control"] == "rfm_noise" and mine["difference_to_control_low"] > 0
    assert of.loc[[("lightgbm", "rfm"), ("random_forest", "rfm")], "difference_to_rfm"].isna().all()


def test_a_remark_stands_beside_the_learner_that_it_is_about():
    churned = np.arange(60) % 2 == 0
    frames = [
        made({"rfm": churned * 1.0}, churned, learner="lightgbm").assign(note="left out: colour"),
        made({"rfm": churned * 1.0}, churned, learner="bg_nbd").assign(note="r 0.25"),
        made({"caspr_finetuned": churned * 1.0}, churned, learner="finetuned").assign(note="embedding v1"),
        made({"caspr": churned * 1.0}, churned, learner="ranking").assign(note="9 of 9 items have a vector"),
    ]
    text = performance_table(performance(pd.concat(frames, ignore_index=True), CHURN))
    for said in (
        "rfm: left out: colour",
        "bg_nbd: r 0.25",
        "caspr_finetuned: embedding v1",
        "caspr: 9 of 9 items have a vector",
    ):
        assert f"churn, {said}" in text.splitlines()


def test_the_table_claims_no_earlier_cutoff_where_a_note_says_otherwise(evaluation):
    note = "no label was known of a train cutoff, so fitted on other customers of the same cutoff"
    text = performance_table(performance(evaluation.assign(note=note), CHURN)).replace("\n", " ")
    assert "on other customers than those measured and, unless a note says otherwise, on earlier cutoffs." in text
    assert note in text

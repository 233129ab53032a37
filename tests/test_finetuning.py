"""Fine-tuning: it learns what labels say and nothing else, from customers that it does not score, the same twice."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from caspr_train import finetuning
from caspr_train.bundle import Bundle, shape_of
from caspr_train.config import preset
from caspr_train.distributed import Processes, launch
from caspr_train.errors import UsageError
from caspr_train.finetuner import BUNDLE, LARGEST, SIDES, Fit, Scaled, fine_tune, write_plan
from caspr_train.model import Caspr
from caspr_train.packing import KEYS, KEYS_FILE
from caspr_train.runs import Marts, PackedCutoff
from caspr_train.sequences import RESERVED
from caspr_train.tasks import metrics, protocol
from caspr_train.tasks.churn import CHURN
from caspr_train.tasks.performance import PERFORMANCE_TYPES
from tests.frames import packed
from tests.test_performance import made
from tests.test_tasks import EVALUATE, TRAIN, make_tables, reading

SMALL = {"hidden": 16, "feed_forward": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 4, "embedding_width": 8}
CUSTOMERS, FITTED = 500, 350
ALONE = Processes(0, 1)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """What the processes find: half of the label is the type of the latest activity, which no feature tells."""
    folder = tmp_path_factory.mktemp("finetuning")
    config = preset("paper", **SMALL)
    sequences, encoding, _ = packed(config, customers=CUSTOMERS)
    sequences.save(folder / SIDES[0])
    (folder / SIDES[1]).symlink_to(folder / SIDES[0])
    torch.manual_seed(0)
    Bundle("0" * 12, config, encoding, Caspr(config, shape_of(encoding)).state_dict(), {}, {}).save(folder / BUNDLE)
    rng = np.random.default_rng(1)
    latest = sequences.categories[sequences.offsets[1:] - 1, 0].numpy() == RESERVED
    feature = rng.normal(size=CUSTOMERS)
    log_odds = 4 * (latest - 0.5) + 2 * feature
    is_true = rng.random(CUSTOMERS) < 1 / (1 + np.exp(-log_odds))
    gaps = np.where(rng.random(CUSTOMERS) < 0.3, np.nan, rng.normal(size=CUSTOMERS))
    np.save(folder / "features.npy", np.stack([feature, gaps], 1).astype(np.float32))
    np.save(folder / "side.npy", (np.arange(CUSTOMERS) >= FITTED).astype(np.int64))
    np.save(folder / "sequence.npy", np.arange(CUSTOMERS))
    np.save(folder / "label.npy", is_true)
    np.save(folder / "chance.npy", rng.random(CUSTOMERS) < 0.5)
    np.save(folder / "number.npy", 1000 + 100 * log_odds)
    return folder


def tuned(work, *fits: Fit, processes=ALONE) -> list[np.ndarray]:
    for fit in fits:
        np.savez(work / f"{fit.name}.npz", fit=np.arange(FITTED), asked=np.arange(FITTED, CUSTOMERS))
    write_plan(work, list(fits))
    launch(fine_tune, processes, work, work)
    return [np.load(work / f"{fit.name}-scores.npy") for fit in fits]


def auroc(work, label: str, scores: np.ndarray) -> float:
    return metrics.auroc(np.load(work / f"{label}.npy")[FITTED:], scores)(np.ones(len(scores)))


def test_it_learns_from_sequences_and_features_and_nothing_from_chance(work):
    told, chance, number = tuned(
        work, Fit("told", "label", True, 1), Fit("chance", "chance", True, 1), Fit("number", "number", False, 1)
    )
    of_feature = auroc(work, "label", np.load(work / "features.npy")[FITTED:, 0])
    assert auroc(work, "label", told) > of_feature + 0.05 and told.min() > 0 and told.max() < 1
    assert abs(auroc(work, "chance", chance) - 0.5) < 3 * 0.048  # the standard error of 150 customers
    truth = np.load(work / "number.npy")[FITTED:]
    assert np.corrcoef(number, truth)[0, 1] > 0.8 and abs(number.mean() - truth.mean()) < truth.std() / 3


def test_a_seed_is_a_promise_and_two_processes_end_near_one(work):
    first, again, other = tuned(
        work, *(Fit(name, "label", True, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    (both,) = tuned(work, Fit("two", "label", True, 1), processes=Processes(0, 2))
    assert np.corrcoef(first, both)[0, 1] > 0.95  # what is dropped out differs


def test_features_are_standardised_with_their_gaps_told():
    features = np.array([[1, np.nan, 5], [np.e - 1, 2, 5], [-3, np.nan, 5], [7, 4, 5]], np.float32)
    scaled = Scaled(features)
    found = scaled(features).numpy()
    assert found.shape == (4, scaled.columns) == (4, 4)
    np.testing.assert_allclose(found[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(found[:, 0].std(), 1, rtol=1e-5)
    assert found[:, 3].tolist() == [1, 0, 1, 0] and found[0, 1] == found[2, 1] == 0 and not found[:, 2].any()
    far = scaled(np.array([[1e30, 3, 9], [np.nan, 3, np.nan]], np.float32)).numpy()
    assert far[0, 0] == LARGEST and far[1, 0] == 0 and not far[:, 2].any()


def test_no_customer_is_scored_by_a_model_that_was_fitted_on_it(tmp_path, monkeypatch):
    tables = make_tables(customers=120)
    cutoffs = []
    for at, role in ((TRAIN, "train"), (EVALUATE, "evaluate")):
        folder = tmp_path / role
        folder.mkdir()
        customers = sorted(tables.rfm_features.query("cutoff_at == @at")["customer_id"])
        keys = pa.table({"customer_id": customers, "cutoff_at": [at.to_pydatetime()] * len(customers)}).cast(KEYS)
        with pa.OSFile(str(folder / KEYS_FILE), "wb") as file, pa.ipc.new_file(file, KEYS) as writer:
            writer.write_table(keys, max_chunksize=50)
        cutoffs.append(PackedCutoff(at.to_pydatetime(), role, folder))
    (question,) = protocol.questions(reading(tables), CHURN, 3)
    rows, seen = question.marts.rows, {}

    def look(work, processes, folder, *_):
        side, sequence = np.load(folder / "side.npy"), np.load(folder / "sequence.npy")
        at = rows["cutoff_at"].to_numpy()
        assert (side == (at == EVALUATE)).all()
        for path in folder.glob("*.npz"):
            of = np.load(path)
            fit, asked = (rows.iloc[of[name]] for name in ("fit", "asked"))
            assert (fit["cutoff_at"] == TRAIN).all() and (asked["cutoff_at"] == EVALUATE).all()
            assert not set(fit["customer_id"]) & set(asked["customer_id"])
            seen[path.stem] = len(fit)
            np.save(folder / f"{path.stem}-scores.npy", sequence[of["asked"]])

    monkeypatch.setattr(finetuning, "launch", look)
    bundle = SimpleNamespace(model_version="v1", save=lambda folder: None)
    marts = Marts(None, cutoffs, 0, None)
    answers = finetuning._answers(question, marts, bundle, CHURN, 3, [20], ALONE, tmp_path / "work")
    assert len(seen) == 6 and sorted(n for name, n in seen.items() if name.startswith("20-")) == [20, 20, 20]
    scores, note = answers[None]
    assert "v1" in note and "rfm_content" in note
    # Each got the score of its own sequence: the customers' places among the sorted names.
    assert (
        scores["churn_probability"].tolist() == rows.iloc[question.target]["customer_id"].str[1:].astype(int).tolist()
    )


def test_the_curve_says_mean_and_error_and_an_unknown_task_is_named():
    values = [
        finetuning._row(EVALUATE, labels, learner, "rfm", seed, value)
        for labels, learner, value in (("100", "lightgbm", 0.6), ("all", "lightgbm", 0.7), ("all", "finetuned", 0.8))
        for seed, value in ((1, value - 0.01), (2, value + 0.01))
    ]
    text = finetuning.curve_text(finetuning._curve(pd.DataFrame(values), CHURN))
    assert "100 labels" in text and "70.0 ± 1.0" in text and "80.0 ± 1.0" in text and "2 seeds ± standard error" in text
    with pytest.raises(UsageError, match=r"--task loyalty: expected one of churn, lifetime_value"):
        finetuning.task_of("loyalty")


def test_what_was_evaluated_over_trainings_stays_beside_the_fine_tuned_row():
    rng = np.random.default_rng(2)
    churned = rng.random(200) < 0.5

    def found(seeds):
        parts = [
            made({name: np.clip(0.3 * churned + 0.7 * rng.random(200), 0, 1)}, churned, seed=seed, learner=learner)
            for seed in range(seeds)
            for learner, name in (("lightgbm", "rfm"), ("lightgbm", "caspr"), ("finetuned", "caspr_finetuned"))
        ]
        return finetuning.Finetuned(pd.concat(parts, ignore_index=True), pd.DataFrame())

    def after(seeds, known):
        return finetuning.evaluations(found(seeds), CHURN, known, "v1", {"churn": "now"}).to_pandas()

    # nothing was evaluated: the table would lack the others, so that they are written too
    alone = after(3, pd.DataFrame(columns=[*PERFORMANCE_TYPES, "model_version", "settings_hash"]))
    assert set(alone["representation"]) == {"rfm", "caspr", "caspr_finetuned"} and alone["seeds"].eq(3).all()
    evaluated = alone[alone["learner"] != "finetuned"].assign(seeds=5)
    others = (evaluated.assign(task="lifetime_value"), evaluated.assign(settings_hash="then", value=0.9))
    known = pd.concat([evaluated, *others, evaluated.assign(model_version="v0")], ignore_index=True)
    first = after(3, known)
    again = after(2, first)
    for rows, seeds in ((first, 3), (again, 2)):
        keys = ["task", "settings_hash", "learner", "representation", "cutoff_at", "metric"]
        assert not rows.duplicated(keys).any()
        is_own = rows["learner"] == "finetuned"
        assert is_own.sum() == 3 and rows.loc[is_own, "seeds"].eq(seeds).all()
        assert rows.loc[is_own, "difference_to_rfm_low"].notna().all()
        pd.testing.assert_frame_equal(
            rows[~is_own].reset_index(drop=True), known.head(len(rows) - 3), check_dtype=False, check_exact=True
        )

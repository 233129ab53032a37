"""What must hold for recommendation: metrics by hand, recommenders on small cases, and nothing of the future."""

import re

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from caspr_train.errors import DataError
from caspr_train.tasks import candidates, ranking, recommendation
from caspr_train.tasks.candidates import CANDIDATES
from caspr_train.tasks.performance import PERFORMANCE_TYPES
from caspr_train.tasks.purchases import Items, read_customers, read_items
from tests.projects import ROOT

TRAIN, EVALUATE, SCORE = (pd.Timestamp(day) for day in ("2025-01-01", "2025-04-01", "2025-07-01"))
CUTOFFS = (TRAIN, EVALUATE, SCORE)
DAY = pd.Timedelta(days=1)


class Shop:
    """Purchases, and the marts that SQL makes of them: `marts` answers as `read` does in a Python model.

    purchases: customer_id, item, at. vectors: {customer: [w]}, item_vectors: {item: [w]}. strangers: who has no
    activity at the score cutoff.
    """

    def __init__(self, purchases, customers=(), vectors=None, item_vectors=None, exclude_bought=False):
        self.purchases = pd.DataFrame(purchases, columns=["customer_id", "item", "at"])
        self.customers = sorted({*customers, *self.purchases["customer_id"]})
        self.vectors, self.item_vectors = vectors or {}, item_vectors or {}
        self.exclude_bought = exclude_bought
        self.champion = None
        self.strangers = []
        self.asked = []

    def read(self, name, condition=""):
        self.asked.append((name, condition))
        frame = getattr(self, name)()
        at = re.search(r"cutoff_at = cast\('([^']+)'", condition)
        assert "md5" not in condition
        return frame[frame["cutoff_at"] == at[1]] if at else frame

    def cutoffs(self):
        ends = [at + 90 * DAY for at in CUTOFFS]
        roles, known = ["train", "evaluate", "score"], [True, True, False]
        instants = {"cutoff_at": CUTOFFS, "horizon_ends_at": ends, "as_of": SCORE}
        return pd.DataFrame({"role": roles, "has_labels": known, **instants})

    def task_settings(self):
        return pd.DataFrame({"task": ["churn", "recommendation"], "horizon_days": [365, 90]})

    def customer_counts(self):
        counts = pd.DataFrame({"cutoff_at": CUTOFFS, "customers": len(self.customers)})
        return counts.assign(customers_without_activity=[0, 0, len(self.strangers)])

    def customers_without_activity(self):
        return pd.DataFrame({"customer_id": self.strangers, "cutoff_at": SCORE, "has_profile": True})

    def customer_cutoffs(self):
        pairs = [(customer, at) for at in CUTOFFS for customer in self.customers]
        return pd.DataFrame(pairs, columns=["customer_id", "cutoff_at"]).sample(frac=1, random_state=1)

    def purchase_history(self):
        parts = []
        for cutoff in CUTOFFS:
            known = self.purchases[self.purchases["at"] < cutoff]
            grouped = known.groupby(["customer_id", "item"])["at"].agg(["nunique", "max"]).reset_index()
            parts.append(grouped.assign(cutoff_at=cutoff))
        frame = pd.concat(parts).rename(columns={"nunique": "purchase_count", "max": "last_purchased_at"})
        return frame.assign(is_recommendable=not self.exclude_bought).sample(frac=1, random_state=2)

    def item_popularity(self):
        frame = self.purchase_history()
        frame["recent_customers"] = frame["last_purchased_at"] >= frame["cutoff_at"] - 90 * DAY
        grouped = frame.groupby(["cutoff_at", "item"])
        popularity = grouped.agg(customers=("customer_id", "size"), recent_customers=("recent_customers", "sum"))
        return popularity.reset_index()

    def purchase_labels(self):
        parts = []
        for cutoff in CUTOFFS[:2]:
            window = self.purchases[self.purchases["at"].between(cutoff, cutoff + 90 * DAY, inclusive="left")]
            first = window.groupby(["customer_id", "item"])["at"].min().rename("first_purchased_at").reset_index()
            parts.append(first.assign(cutoff_at=cutoff))
        return pd.concat(parts, ignore_index=True)

    def customer_embeddings(self):
        rows = [(name, at, np.array(vector, np.float32)) for at in CUTOFFS for name, vector in self.vectors.items()]
        return pd.DataFrame(rows, columns=["customer_id", "cutoff_at", "embedding"])

    def item_embeddings(self):
        rows = [(name, np.array(vector, np.float32), 0.0) for name, vector in self.item_vectors.items()]
        return pd.DataFrame(rows, columns=["item", "embedding", "bias"])

    def model_leaderboard(self):
        names = [] if self.champion is None else [self.champion]
        return pd.DataFrame({"task": ["recommendation"] * len(names), "representation": names})


def random_shop(seed=0, customers=150, items=30, taste=0.8, **settings):
    """Customers of three kinds, each with ten items that it prefers; the vectors say of which kind a customer is."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, customers)
    rows = []
    for customer in range(customers):
        for _ in range(rng.integers(3, 15)):
            item = rng.integers(0, 10) * 3 + (kind[customer] if rng.random() < taste else rng.integers(0, 3))
            rows.append((f"c{customer:03d}", f"i{item:03d}", TRAIN + rng.integers(-200, 180) * DAY))
    vectors = {f"c{customer:03d}": 4 * np.eye(3)[kind[customer]] for customer in range(customers)}
    item_vectors = {f"i{item:03d}": np.eye(3)[item % 3] for item in range(items)}
    return Shop(rows, vectors=vectors, item_vectors=item_vectors, **settings)


@pytest.fixture(scope="module")
def shop():
    return random_shop()


@pytest.fixture(scope="module")
def evaluation(shop):
    return recommendation.evaluate(shop.read)


def of_shop(shop, cutoff=SCORE):
    items = read_items(shop.read, cutoff)
    return items, read_customers(shop.read, items, cutoff, "")


def ranked(scores, items, customers, customer):
    """The items that are recommended to a customer, best first."""
    rows, columns = ranking.top(ranking.close(scores(customers), customers), 100)
    return list(items.names[columns[rows == customers.ids.get_loc(customer)]])


# -- the metrics, by hand


def test_the_metrics_of_a_basket_are_those_worked_out_by_hand():
    # One customer bought three items, ranked 1, 3 and 8; another one two, ranked 2 and not known at all.
    measured = ranking.basket(np.array([3.0, 1, 8, np.inf, 2]), np.array([0, 0, 0, 1, 1]), 2)
    log = np.log2
    first = {
        "map": (1 / 1 + 2 / 3 + 3 / 8) / 3,
        "precision_1": 1,
        "hits_5": 2,
        "hit_rate_5": 1,
        "ndcg_3": (1 + 1 / log(4)) / (1 + 1 / log(3) + 1 / log(4)),
        "ndcg_10": (1 + 1 / log(4) + 1 / log(9)) / (1 + 1 / log(3) + 1 / log(4)),
    }
    second = {
        "map": (1 / 2 + 0) / 2,
        "precision_1": 0,
        "hits_5": 1,
        "hit_rate_5": 1,
        "ndcg_3": 1 / log(3) / (1 + 1 / log(3)),
        "ndcg_10": 1 / log(3) / (1 + 1 / log(3)),
    }
    for row, expected in zip(measured, (first, second), strict=True):
        assert dict(zip(ranking.METRICS, row, strict=True)) == pytest.approx(expected)


def test_leave_one_out_asks_for_each_item_of_the_next_purchase_with_equal_right():
    measured = ranking.next_item(np.array([1.0, 7, 4]), np.array([0, 0, 1]), 2)
    log = np.log2
    expected = [[(1 + 1 / 7) / 2, 0.5, 0.5, 0.5, 0.5, (1 + 1 / log(8)) / 2], [0.25, 0, 1, 1, 0, 1 / log(5)]]
    np.testing.assert_allclose(measured, expected)


def test_ranks_are_those_of_a_sort_and_equal_scores_fall_by_column():
    rng = np.random.default_rng(3)
    scores = rng.integers(0, 6, (20, 40)).astype(np.float32)
    rows, columns = np.repeat(np.arange(20), 40), np.tile(np.arange(40), 20)
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = np.empty_like(order)
    np.put_along_axis(expected, order, np.arange(1, 41)[None, :], axis=1)
    np.testing.assert_array_equal(ranking.ranks(scores, rows, columns).reshape(20, 40), expected)
    few = ranking.ranks(scores, rows, columns, within=7).reshape(20, 40)
    np.testing.assert_array_equal(few, np.where(expected <= 7, expected, np.inf))
    for count in (1, 7, 40, 50):
        found_rows, found = ranking.top(scores, count)
        np.testing.assert_array_equal(found, order[:, :count].ravel())
        np.testing.assert_array_equal(found_rows, np.repeat(np.arange(20), min(count, 40)))
    assert ranking.ranks(scores, np.array([0]), np.array([-1])).tolist() == [np.inf]
    # Of a customer of whom nothing is known all are equal, and no more than asked for are put into order.
    unknown = np.zeros((3, 1_000), np.float32)
    unknown[1, 990:] = 1
    unknown[2, :5] = -np.inf
    assert ranking.at_least(unknown, np.zeros((3, 1)), 4).sum(axis=1).tolist() == [4, 14, 4]
    assert ranking.top(unknown, 4)[1].reshape(3, 4).tolist() == [[0, 1, 2, 3], [990, 991, 992, 993], [5, 6, 7, 8]]


# -- the recommenders on cases small enough to see through


@pytest.fixture(scope="module")
def small():
    """ann buys pens again and again and ink lately; bob bought ink long ago; cem never bought anything."""
    rows = [("ann", "pen", SCORE - days * DAY) for days in (30, 200, 300)]
    rows += [("ann", "ink", SCORE - 2 * DAY), ("ann", "cap", SCORE - 100 * DAY), ("bob", "ink", SCORE - 300 * DAY)]
    rows += [("dan", "box", SCORE - 3 * DAY), ("eve", "box", SCORE - 3 * DAY), ("eve", "pen", SCORE - 3 * DAY)]
    item_vectors = {"pen": [1, 0], "ink": [0, 1], "fax": [9, 9]}
    return Shop(rows, ["cem"], {"ann": [0, 5], "bob": [3, 0], "cem": [0, 7]}, item_vectors)


def test_personal_frequency_then_recency_then_popularity(small):
    items, customers = of_shop(small)
    assert list(items.names) == ["box", "pen", "ink", "cap"]
    scores = candidates.fit("personal_frequency", {}, items, customers)
    assert ranked(scores, items, customers, "ann") == ["pen", "ink", "cap", "box"]
    assert ranked(scores, items, customers, "bob") == ["ink", "box", "pen", "cap"]
    assert ranked(scores, items, customers, "cem") == ["box", "pen", "ink", "cap"]


def test_caspr_is_the_softmax_of_the_dot_products_and_unknown_items_keep_their_share(small):
    items, customers = of_shop(small)
    chances = candidates.chances(items, customers)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)
    known = items.share[1] + items.share[2]  # pen and ink; nobody had bought a fax
    np.testing.assert_allclose(chances[0, 1:3], known * np.exp([0, 5]) / np.exp([0, 5]).sum(), rtol=1e-5)
    np.testing.assert_allclose(chances[:, [0, 3]], np.tile(items.share[[0, 3]], (len(customers), 1)))
    dan = customers.ids.get_loc("dan")
    np.testing.assert_allclose(chances[dan], items.share)


def test_a_lift_is_the_share_by_how_much_likelier_than_usual(small):
    items, customers = of_shop(small)
    chances, usual = candidates.chances(items, customers), candidates.usual_chances(items, customers)
    np.testing.assert_allclose(usual, chances.mean(axis=0), rtol=1e-5)
    expected = items.share * np.sqrt(chances / usual)
    lifted = candidates.lifted(items, customers, usual, certainty=0.5)
    np.testing.assert_allclose(lifted, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(candidates.lifted(items, customers, usual, 0.0), np.tile(items.share, (5, 1)), rtol=1e-5)


def test_a_blend_is_the_weighted_sum_of_own_purchases_and_chances(small):
    items, customers = of_shop(small)
    scores = candidates.blend(candidates.chances(items, customers), customers, own=0.75, half_life=100)
    weights = {"pen": 3 * 0.5**0.3, "ink": 0.5**0.02, "cap": 0.5}
    own = np.array([weights.get(name, 0) for name in items.names]) / sum(weights.values())
    expected = 0.75 * own + 0.25 * candidates.chances(items, customers)[0]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)


def test_confidences_are_times_bought_by_what_the_model_expects_of_them(small):
    items, customers = of_shop(small)
    confidences = candidates.confidences(items, customers)[0].toarray().ravel()
    chances = candidates.chances(items, customers)[0]
    bought = chances * [0, 1, 1, 1]
    np.testing.assert_allclose(confidences, np.array([0, 3, 1, 1]) * bought / (bought.sum() / 3), rtol=1e-5)


def test_a_customer_whose_items_the_model_holds_for_impossible_has_its_counts_as_confidences(small):
    far = Shop(
        small.purchases, ["cem"], {"ann": [300, 0]}, {"pen": [-1, 0], "ink": [-1, 0], "cap": [-1, 0], "box": [1, 0]}
    )
    items, customers = of_shop(far)
    assert candidates.chances(items, customers)[0].tolist() == [1, 0, 0, 0]
    assert candidates.confidences(items, customers)[0].toarray().ravel().tolist() == [0, 3, 1, 1]


def test_als_solves_the_equations_of_hu_koren_and_volinsky(small):
    """A customer's factors are the minimum for the items' factors; found here with dense matrices."""
    items, customers = of_shop(small)
    made = []
    original = candidates.AlternatingLeastSquares

    def kept(**settings):
        made.append(original(**settings))
        return made[0]

    candidates.AlternatingLeastSquares = kept
    try:
        scores = candidates.fit("als", {"alpha": 10, "regularization": 0.1}, items, customers)(customers)
    finally:
        candidates.AlternatingLeastSquares = original
    factors = made[0].item_factors.astype(np.float64)
    times = customers.times.toarray()
    for row, expected in enumerate(times):
        # implicit's confidence of what was bought is alpha x r itself, and 1 of all else
        confidence = np.where(expected > 0, 10 * expected, 1)
        left = (factors * confidence[:, None]).T @ factors + 0.1 * np.eye(factors.shape[1])
        right = (factors * confidence[:, None]).T @ (expected > 0)
        np.testing.assert_allclose(scores[row], factors @ np.linalg.solve(left, right), atol=1e-3)


@pytest.mark.parametrize("name", list(CANDIDATES))
def test_scores_do_not_depend_on_who_is_scored_beside_nor_on_threads(shop, name, monkeypatch):
    items, customers = of_shop(shop)
    setting = CANDIDATES[name][0]
    whole = candidates.fit(name, setting, items, customers)(customers)
    monkeypatch.setattr(candidates, "worker_threads", lambda: 3)
    scores = candidates.fit(name, setting, items, customers)
    parts = np.concatenate([scores(customers[:1]), scores(customers[1:90]), scores(customers[90:])])
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


# -- what is recommended


def test_every_customer_gets_ten_items_with_a_reason(small):
    small.champion = "frequency_caspr"
    items, _ = of_shop(small)
    frame = recommendation.score(small.read)
    assert frame.dtypes.astype(str).to_dict() == recommendation.SCORE_TYPES
    assert set(frame["customer_id"]) == {"ann", "bob", "cem", "dan", "eve"}
    assert (frame.groupby("customer_id")["rank"].apply(list).map(lambda ranks: ranks == [1, 2, 3, 4])).all()
    reasons = frame.set_index(["customer_id", "item"])["reason"]
    assert reasons["ann", "pen"] == "bought 3 times"
    assert reasons["bob", "ink"] == "bought once"
    assert reasons["bob", "pen"] == reasons["cem", "ink"] == "bought by customers alike"
    assert reasons["dan", "pen"] == "popular"  # no vector
    assert not items.has_vector[items.names.get_loc("box")] and reasons["bob", "box"] == "popular"
    small.champion = "personal_frequency"
    popular = recommendation.score(small.read).query("customer_id == 'cem'")
    assert (popular["reason"] == "popular; this customer bought nothing yet").all()
    assert popular["item"].tolist() == ["box", "pen", "ink", "cap"]


def test_who_has_no_activity_gets_what_is_popular_and_nobody_else_moves(small):
    small.champion = "frequency_caspr"
    before = recommendation.score(small.read)
    small.strangers = ["zoe", "abe"]
    frame = recommendation.score(small.read)
    small.strangers = []
    mine = frame[frame["customer_id"].isin(["zoe", "abe"])]
    assert mine.groupby("customer_id")["item"].apply(list).tolist() == [["box", "pen", "ink", "cap"]] * 2
    assert set(mine["reason"]) == {"popular; no activity before the cutoff"}
    assert set(mine["representation"]) == {"popularity"}
    assert frame.dtypes.astype(str).to_dict() == recommendation.SCORE_TYPES
    pd.testing.assert_frame_equal(frame.drop(mine.index), before, check_exact=True)


def test_a_cutoff_is_measured_as_soon_as_the_horizon_of_purchases_has_ended(shop, evaluation):
    def read(name, condition=""):
        frame = shop.read(name, condition)
        longest = {"has_labels": False, "horizon_ends_at": pd.Timestamp("2026-01-01")}
        return frame.assign(**longest) if name == "cutoffs" else frame

    pd.testing.assert_frame_equal(recommendation.evaluate(read), evaluation, check_exact=True)


def test_what_was_bought_is_neither_recommended_nor_asked_for_if_excluded():
    shop = random_shop(customers=60, exclude_bought=True)
    bought = set(zip(*shop.purchases[["customer_id", "item"]].to_numpy().T, strict=True))
    frame = recommendation.score(shop.read)
    assert len(frame) > 500
    assert not set(zip(frame["customer_id"], frame["item"], strict=True)) & bought
    evaluation = recommendation.evaluate(shop.read)
    known = shop.purchases[shop.purchases["at"] < EVALUATE]
    later = shop.purchases[shop.purchases["at"].between(EVALUATE, SCORE, inclusive="left")]
    new = later.merge(known[["customer_id", "item"]].drop_duplicates(), how="left", indicator=True)
    new = new[new["_merge"] == "left_only"]
    assert set(evaluation["customer_id"]) == set(new["customer_id"])


def test_a_pattern_in_the_vectors_is_found(evaluation):
    performance = recommendation.performance(evaluation)
    value = performance.set_index(["representation", "metric"])["value"]
    assert value["caspr", "ndcg_10"] > value["popularity", "ndcg_10"] + 0.1
    assert value["frequency_caspr", "map"] > value["personal_frequency", "map"]
    assert value["frequency_caspr", "ndcg_10"] > value["als", "ndcg_10"]


def test_the_evaluation_measures_every_recommender_on_the_same_customers(shop, evaluation):
    assert evaluation.dtypes.astype(str).to_dict() == recommendation.EVALUATION_TYPES
    later = shop.purchases[shop.purchases["at"].between(EVALUATE, SCORE, inclusive="left")]
    assert evaluation.groupby("representation").size().to_dict() == dict.fromkeys(
        CANDIDATES, later["customer_id"].nunique()
    )
    assert evaluation["note"][evaluation["representation"] == "caspr"].eq("30 of 30 items have a vector").all()
    performance = recommendation.performance(evaluation)
    assert performance.dtypes.astype(str).to_dict() == PERFORMANCE_TYPES
    assert len(performance) == len(CANDIDATES) * len(recommendation.METRICS)
    assert performance.query("is_champion")["representation"].nunique() == 1
    note = performance.query("representation == 'caspr' and metric == 'ndcg_10'")["note"].item()
    assert re.match(r"ndcg_10 [+-]0\.\d+ \[[+-]0\.\d+, [+-]0\.\d+\] to als, ", note)


def test_the_champion_is_the_simplest_that_nothing_beats():
    names = ["popularity", "personal_frequency", "als"]
    rng = np.random.default_rng(5)
    even = {(name, "ndcg_10"): 0.5 + rng.normal(0, 0.01, 500) for name in names}
    assert recommendation._champion(names, even) == "popularity"
    better = {**even, ("als", "ndcg_10"): even["als", "ndcg_10"] + 0.1}
    assert recommendation._champion(names, better) == "als"


# -- nothing of the future


def test_nothing_at_or_after_the_cutoff_moves_a_recommendation_or_a_weight(shop):
    """What happens after the evaluate cutoff decides the measures alone, after the score cutoff nothing."""
    items, customers = of_shop(shop, EVALUATE)
    before = {name: recommendation._settings(shop.read, TRAIN, [name])[name] for name in ("frequency_caspr", "als")}
    scores = candidates.fit("als", before["als"], items, customers)(customers)
    poison = [(customer, "i000", EVALUATE + DAY) for customer in shop.customers]
    poisoned = Shop(
        [*shop.purchases.itertuples(index=False), *poison], vectors=shop.vectors, item_vectors=shop.item_vectors
    )
    items_after, customers_after = of_shop(poisoned, EVALUATE)
    assert list(items_after.names) == list(items.names)
    for name, setting in before.items():
        assert recommendation._settings(poisoned.read, TRAIN, [name])[name] == setting
    after = candidates.fit("als", before["als"], items_after, customers_after)(customers_after)
    np.testing.assert_array_equal(after, scores)


def test_the_weights_for_a_cutoff_are_chosen_where_the_labels_ended_by_then(shop):
    shop.asked.clear()
    recommendation.evaluate(shop.read)
    labels = [condition for name, condition in shop.asked if name == "purchase_labels"]
    assert [str(TRAIN) in condition for condition in labels] == [False, True]
    late = shop.cutoffs().assign(horizon_ends_at=lambda frame: frame["horizon_ends_at"] + DAY)
    assert recommendation._earlier(late[late["has_labels"]], EVALUATE) is None


def test_of_customers_who_take_no_part_no_purchase_is_read(shop, monkeypatch):
    """What is measured and tuned on is the same as if all purchases were read and then left out."""
    for function in (recommendation._sampled, recommendation._bought):
        monkeypatch.setattr(function, "__defaults__", (60,))
    monkeypatch.setattr(recommendation, "TUNED_ON", 40)
    read_of, is_all_read = {}, False

    def read(name, condition=""):
        frame = getattr(shop, name)()
        if is_all_read and name == "purchase_labels":
            condition = condition.partition(" and ")[0]
        found = duckdb.from_df(frame).filter(condition).df() if condition else frame
        if name == "purchase_labels":
            read_of[found["cutoff_at"].iloc[0]] = found["customer_id"].nunique()
        return found

    sampled = recommendation.evaluate(read)
    assert 10 < read_of[TRAIN] < read_of[EVALUATE] < 60
    is_all_read = True
    pd.testing.assert_frame_equal(recommendation.evaluate(read), sampled, check_exact=True)
    assert read_of[TRAIN] > 100 and read_of[EVALUATE] > 100


def test_the_order_of_rows_changes_nothing(shop, evaluation):
    again = random_shop()
    again.purchases = again.purchases.sample(frac=1, random_state=9)
    pd.testing.assert_frame_equal(recommendation.evaluate(again.read), evaluation, check_exact=True)


# -- little or nothing to work with


def test_without_purchases_there_is_nothing_to_recommend():
    empty = Shop([], ["ann", "bob"])
    assert len(recommendation.evaluate(empty.read)) == 0
    performance = recommendation.performance(recommendation.evaluate(empty.read))
    assert performance.dtypes.astype(str).to_dict() == PERFORMANCE_TYPES
    scores = recommendation.score(empty.read)
    assert scores.dtypes.astype(str).to_dict() == recommendation.SCORE_TYPES
    assert len(scores) == 0


def test_before_the_first_training_there_are_no_vectors_and_four_recommenders():
    shop = random_shop(customers=40)
    shop.vectors, shop.item_vectors, shop.champion = {}, {}, "frequency_caspr"
    evaluation = recommendation.evaluate(shop.read)
    assert set(evaluation["representation"]) == set(CANDIDATES) - set(candidates.NEED_VECTORS)
    # what was champion cannot be had any more
    assert set(recommendation.score(shop.read)["representation"]) == {recommendation.DEFAULT}


def test_items_that_nobody_had_bought_count_as_never_found():
    rows = [("ann", "pen", EVALUATE - DAY), ("ann", "new", EVALUATE), ("ann", "pen", EVALUATE + DAY)]
    shop = Shop([*rows, ("bob", "new", EVALUATE + DAY), ("bob", "cap", EVALUATE - DAY)])
    frame = recommendation.evaluate(shop.read).query("representation == 'personal_frequency'").set_index("customer_id")
    assert frame.loc["ann", "map"] == 0.5
    assert frame.loc["ann", "next_map"] == 0
    assert frame.loc["bob", list(recommendation.METRICS)].eq(0).all()


def test_vectors_of_two_widths_are_refused_in_one_line(small):
    bad = Shop(small.purchases, small.customers, {"ann": [1, 2, 3]}, small.item_vectors)
    with pytest.raises(DataError, match="item_embeddings: vectors of 2 numbers, found 3 in customer_embeddings"):
        of_shop(bad)


def test_a_hundred_thousand_items_are_ranked_in_bounded_memory(monkeypatch):
    """The scores in memory are those of a piece, whose size falls as items grow; what is recommended stays right."""
    rng = np.random.default_rng(4)
    items, customers = 100_000, 120
    share = np.full(items, 1 / items, np.float32)
    vectors = rng.normal(size=(items, 16)).astype(np.float32)
    catalogue = Items(pd.Index([f"i{n}" for n in range(items)]), share, vectors, np.zeros(items, np.float32), share > 0)
    _, few = of_shop(random_shop(customers=customers))
    shape = (customers, items)
    places = (np.arange(customers).repeat(5), rng.integers(0, items, customers * 5))
    times = sparse.csr_array((np.ones(customers * 5, np.float32), places), shape=shape)
    closed = sparse.csr_array(shape, dtype=bool)
    known = type(few)(few.ids, times, times.copy(), closed, rng.normal(size=(customers, 16)).astype(np.float32))
    largest = []
    original = ranking.close
    monkeypatch.setattr(ranking, "close", lambda scores, some: (largest.append(scores.size), original(scores, some))[1])
    scores = candidates.fit("caspr", {}, catalogue, known)
    frames = [
        recommendation._recommended(scores, "caspr", catalogue, known[piece], SCORE)
        for piece in candidates.pieces(known)
    ]
    assert max(largest) <= candidates.MOST_SCORES
    frame = pd.concat(frames)
    assert len(frame) == customers * 10
    best = np.argmax(known.vectors @ vectors.T, axis=1)
    assert frame[frame["rank"] == 1]["item"].tolist() == [f"i{n}" for n in best]


def test_sql_and_python_know_the_same_recommenders():
    text = (ROOT / "macros" / "recommenders.sql").read_text()
    assert re.findall(r"'(\w+)'", text) == list(CANDIDATES)

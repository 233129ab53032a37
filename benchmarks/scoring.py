"""What scoring costs: `python -m benchmarks.scoring`.

The demo shop is simulated with a million customers and all marts are built. A model is trained on a shop of two
thousand for two epochs, which is as much work to embed with as a good one, and embeds everybody at every cutoff. Then
each task's scores at the score cutoff are made by `dbt run` in a process of its own, by what costs most: the champion
is named here instead of measured. Seconds are by the clock, dbt's start included; memory is the largest resident set
of the process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.shop import GIB, Shop

# Everything but what a learner makes.
ROOMS = ("activities", "sequences", "features", "labels", "embeddings")
MARTS = [*(f"models/{room}" for room in ROOMS), "label_counts"]
# By task: the learner and representation that score, and the model that holds the scores.
CHAMPIONS = {
    "churn": ("random_forest", "caspr_rfm_content", "churn_scores"),
    "lifetime_value": ("random_forest", "caspr_rfm_content", "lifetime_value_scores"),
    "fraud": ("lightgbm", "caspr_rfm_content", "fraud_scores"),
    "recommendation": ("ranking", "frequency_caspr", "recommendation_scores"),
}
TRAINED_ON = 2_000


def build(customers: int, folder: Path) -> Shop:
    shop = Shop(customers, folder)
    shop.dbt("run", "--select", *MARTS)
    return shop


def timed(what: str, command: Callable[..., int], *arguments: str) -> None:
    begin = time.perf_counter()
    peak = command(*arguments)
    print(f"{what:<28}{time.perf_counter() - begin:8.0f} s   peak {peak / GIB:5.2f} GiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="caspr-bench-") as scratch:
        small = build(TRAINED_ON, Path(scratch) / "small")
        runs = small.folder / "runs"
        small.caspr("train", "--gpus", "0", "--epochs", "2", "--runs", str(runs))
        (bundle,) = runs.glob("*/bundle")

        begin = time.perf_counter()
        shop = build(given.customers, Path(scratch) / "large")
        print(f"{shop.count('customer_cutoffs'):,} customers at cutoffs, marts in {time.perf_counter() - begin:.0f} s")
        embed = ("embed", "--gpus", "0", "--bundle", str(bundle), "--runs", str(shop.folder / "runs"))
        timed("embed, every cutoff", shop.caspr, *embed)
        shop.dbt("run", "--select", "models/embeddings")
        with shop.connect() as connection:
            champions = ", ".join(f"('{task}', '{one[0]}', '{one[1]}')" for task, one in CHAMPIONS.items())
            connection.execute(
                f"create table model_leaderboard as from (values {champions}) as t (task, learner, representation)"
            )
        for _, _, model in CHAMPIONS.values():
            timed(model, shop.dbt, "run", "--select", model)
            print(f"    {shop.count(model):,} rows")


if __name__ == "__main__":
    main()

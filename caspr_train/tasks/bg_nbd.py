"""BG/NBD and Gamma-Gamma: what the dates and amounts of purchases alone say of who comes back and how much they spend.

Fader, Hardie and Lee (2005), Marketing Science 24(2), for the purchases; Fader, Hardie and Lee (2005), Journal of
Marketing Research 42(4), for their amounts. Both are fitted without a label, on what is known at the cutoff that is
scored. The models are those of pymc-marketing (the extra `btyd`), with flat priors: the most probable parameters are
then those of maximum likelihood, which are the published ones.
"""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from caspr_train.errors import UsageError
from caspr_train.tasks import sample
from caspr_train.tasks.representations import KEYS, sort_by_key

# Seven parameters are fitted: from more customers than these they come out the same to a few percent.
MAXIMUM_FIT_CUSTOMERS = 10_000
# With fewer who bought again there is nothing to fit seven parameters to.
MINIMUM_REPEAT_CUSTOMERS = 10
# Whatever the period of rfm_scores is, the models count in weeks.
WEEKS = {"day": 1 / 7, "week": 1.0, "month": 365.25 / 12 / 7}
SCORE_TYPES = {
    "customer_id": "string",
    "cutoff_at": "datetime64[us]",
    "churn_probability": "float64",
    "predicted_revenue": "float64",
    "note": "string",
}

# dbt's threads share a process, and the compiler behind the models has one configuration a process.
_one_at_a_time = threading.Lock()


def is_available() -> bool:
    """Whether the extra `btyd` is installed."""
    return importlib.util.find_spec("pymc_marketing") is not None


def bg_nbd_scores(
    rfm_scores: pd.DataFrame, horizon_days: int, rfm_period: str = "day", fit_on: pd.DataFrame | None = None
) -> pd.DataFrame:
    """customer_id, cutoff_at, churn_probability, predicted_revenue and note, one row a row of `rfm_scores`.

    churn_probability: of no purchase in [cutoff, cutoff + horizon_days); a purchase as in `rfm_scores`.
    predicted_revenue: purchases expected in the horizon x the spend expected of each; null where no attribute is
        monetary. A probability of being of high value the models do not give.
    note: the parameters, times in weeks.

    fit_on: rows of `rfm_scores` that the models are fitted on, of the same cutoffs; by default those to be scored. Who
        is scored may have been chosen by what was bought of late (at_risk_days), and the models must see everybody.
    Each cutoff is fitted by itself. Who never bought is beyond the models and gets the worst score: 1 and 0. A cutoff
    with fewer than MINIMUM_REPEAT_CUSTOMERS has no rows. Raises UsageError without the extra.
    """
    if not is_available():
        raise UsageError("bg_nbd: pymc-marketing is not installed; pip install 'caspr-train[btyd]'")
    known = sort_by_key(rfm_scores, "rfm_scores")
    seen = known if fit_on is None else sort_by_key(fit_on, "rfm_scores")
    parts = [
        _scored(at, seen[seen["cutoff_at"] == cutoff_at], horizon_days / 7, WEEKS[rfm_period])
        for cutoff_at, at in known.groupby("cutoff_at")
    ]
    parts = [part for part in parts if part is not None]
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in SCORE_TYPES.items()})
    return pd.concat(parts, ignore_index=True)[list(SCORE_TYPES)].astype(SCORE_TYPES)


def fit(purchases: pd.DataFrame) -> tuple[Any, Any]:
    """The fitted BetaGeoModel and GammaGammaModel; None for the second where nobody's repeat spend is above 0.

    purchases: customer_id, frequency, recency, T (one unit of time) and monetary_value.
    """
    with _one_at_a_time, _quietly(), _compiled_by_nobody():
        models, prior = _library()
        counts = models.BetaGeoModel(model_config={name: prior("HalfFlat") for name in ("alpha", "r", "a", "b")})
        counts.fit(purchases, method="map", progressbar=False)
        spent = purchases[(purchases["frequency"] > 0) & (purchases["monetary_value"] > 0)]
        if spent.empty:
            return counts, None
        amounts = models.GammaGammaModel(model_config={name: prior("HalfFlat") for name in ("p", "q", "v")})
        amounts.fit(spent, method="map", progressbar=False)
    return counts, amounts


def _purchases(at: pd.DataFrame, weeks: float) -> pd.DataFrame:
    """What the models are told of those rows of rfm_scores `at` a cutoff who have bought."""
    buyers = at[at["btyd_t"].notna()]
    return pd.DataFrame(
        {
            "customer_id": buyers["customer_id"].astype(object),
            "frequency": buyers["btyd_frequency"].to_numpy(np.float64),
            "recency": buyers["btyd_recency"].to_numpy(np.float64) * weeks,
            "T": buyers["btyd_t"].to_numpy(np.float64) * weeks,
            "monetary_value": buyers["btyd_monetary_value"].to_numpy(np.float64, na_value=np.nan),
        }
    )


def _scored(at: pd.DataFrame, fit_on: pd.DataFrame, horizon_weeks: float, weeks: float) -> pd.DataFrame | None:
    has_bought = at["btyd_t"].notna().to_numpy()
    purchases, seen = _purchases(at, weeks), _purchases(fit_on, weeks)
    # The lowest hashes, not those below a bound: who is measured was chosen by a bound of the same hash.
    lowest = np.argsort(sample.hashes(seen["customer_id"]), kind="stable")[:MAXIMUM_FIT_CUSTOMERS]
    fitted = seen.iloc[np.sort(lowest)]
    if (fitted["frequency"] > 0).sum() < MINIMUM_REPEAT_CUSTOMERS:
        return None
    counts, amounts = fit(fitted)

    churn = np.ones(len(at))
    revenue = np.zeros(len(at))
    churn[has_bought] = _no_purchase(counts, purchases, horizon_weeks)
    revenue[has_bought] = np.nan
    # With q up to 1 the mean of what is spent does not exist, and its formula is negative.
    if amounts is not None and parameters(amounts)["q"] > 1:
        # A mean that refunds made negative is outside of the model's amounts.
        paid = purchases.assign(monetary_value=purchases["monetary_value"].clip(lower=0))
        spend = _values(amounts.expected_customer_spend(paid))
        revenue[has_bought] = spend * _values(counts.expected_purchases(data=purchases, future_t=horizon_weeks))
    if purchases["monetary_value"].isna().all():
        revenue[:] = np.nan
    found = {**parameters(counts), **(parameters(amounts) if amounts is not None else {})}
    note = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
    return at[KEYS].assign(churn_probability=churn.clip(0, 1), predicted_revenue=revenue, note=note)


def _no_purchase(counts: Any, purchases: pd.DataFrame, weeks: float) -> np.ndarray:
    """P(no purchase in the next `weeks`) [customers]: gone already, or alive and the first waiting time is longer.

    The rate of a customer that is alive is Gamma(r + x, alpha + T) given what was seen, and so the waiting time
    is Pareto. pymc-marketing's own `expected_probability_no_purchase` (0.19) holds that who has bought once only may be
    gone, which BG/NBD excludes; on drawn purchases it says 0.76 where 0.70 do not come.
    """
    fitted = parameters(counts)
    alive = _values(counts.expected_probability_alive(data=purchases))
    seen = fitted["alpha"] + purchases["T"].to_numpy()
    waits_longer = (seen / (seen + weeks)) ** (fitted["r"] + purchases["frequency"].to_numpy())
    return 1 - alive * (1 - waits_longer)


def parameters(model: Any) -> dict[str, float]:
    """The fitted parameters by their published names (v is the gamma of Gamma-Gamma)."""
    posterior = model.idata.posterior
    names = [name for name in ("r", "alpha", "a", "b", "p", "q", "v") if name in posterior]
    return {name: float(posterior[name].to_numpy().squeeze()) for name in names}


def _values(result: Any) -> np.ndarray:
    """[customers] float64 of what the library answers: chains x draws x customers, of which there is one draw."""
    return result.to_numpy().reshape(-1).astype(np.float64)


def _library() -> tuple[Any, Any]:
    from pymc_extras.prior import Prior
    from pymc_marketing import clv

    return clv, Prior


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what arviz and pytensor say of their own next versions, to whoever imports or uses them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="arviz|pytensor")
        yield


def _compiled_by_nobody() -> Any:
    """The likelihood in numpy: no C compiler is needed, and nothing waits ten seconds for one."""
    import pytensor

    return pytensor.config.change_flags(mode="FAST_COMPILE", cxx="")

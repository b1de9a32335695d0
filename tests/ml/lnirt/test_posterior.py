"""One student's posterior: exact, order-free, small, and what it predicts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import norm

from app.ml.lnirt.estimation import fit
from app.ml.lnirt.posterior import (
    ItemParameters,
    Population,
    Posterior,
    from_history,
    newcomer,
    predict,
    update,
)

POPULATION = Population(mu_theta=0.1, mu_zeta=-0.05, var_theta=0.8, var_zeta=0.1, cov=0.12)
ITEM = ItemParameters(alpha=1.1, beta=-0.3, phi=0.9, lambda_=3.0, sigma2=0.25)

items = st.builds(
    ItemParameters,
    alpha=st.floats(0.2, 3),
    beta=st.floats(-3, 3),
    phi=st.floats(0.1, 3),
    lambda_=st.floats(1, 5),
    sigma2=st.floats(0.05, 1),
    alpha_var=st.floats(0, 0.3),
    beta_var=st.floats(0, 1),
    alpha_beta_cov=st.just(0.0),
    time_var=st.floats(0, 0.5),
)
answers = st.lists(
    st.tuples(items, st.none() | st.booleans(), st.none() | st.floats(0.5, 500)), min_size=0, max_size=30
)


def after(history: list[tuple[ItemParameters, bool | None, float | None]]) -> Posterior:
    posterior = newcomer(POPULATION)
    for item, correct, seconds in history:
        posterior = update(posterior, item, correct, seconds)
    return posterior


@given(history=answers, seed=st.integers(0, 1000))
def test_order_of_answers_does_not_matter(
    history: list[tuple[ItemParameters, bool | None, float | None]], seed: int
) -> None:
    shuffled = [history[i] for i in np.random.default_rng(seed).permutation(len(history))]
    assert after(shuffled).to_array() == pytest.approx(after(history).to_array(), rel=1e-9, abs=1e-9)


@given(history=answers)
def test_one_by_one_equals_all_at_once(history: list[tuple[ItemParameters, bool | None, float | None]]) -> None:
    batch = from_history(POPULATION, *([h[i] for h in history] for i in range(3)))  # type: ignore[arg-type]
    assert batch.to_array() == pytest.approx(after(history).to_array(), rel=1e-9, abs=1e-9)


@given(history=answers)
def test_bytes_bring_it_back(history: list[tuple[ItemParameters, bool | None, float | None]]) -> None:
    posterior = after(history)
    again = Posterior.from_array(np.frombuffer(posterior.to_array().tobytes()), POPULATION)
    assert predict(again, ITEM) == predict(posterior, ITEM)


@settings(max_examples=30)
@given(history=answers)
def test_moments_equal_a_dense_integral(history: list[tuple[ItemParameters, bool | None, float | None]]) -> None:
    """Posterior of (theta, zeta) by brute force, theta on 2,001 points and zeta in closed form beside it."""
    u = np.linspace(-4.5, 4.5, 2001)
    theta = POPULATION.mu_theta + u * np.sqrt(POPULATION.var_theta)
    log_joint = norm.logpdf(u)
    v = POPULATION.var_zeta_given_theta
    mean = POPULATION.mu_zeta + POPULATION.slope * (theta - POPULATION.mu_theta)
    precision, weighted = 1 / v, mean / v
    for item, correct, seconds in history:
        if correct is not None:
            p = item.predictor(theta)
            log_joint = log_joint + norm.logcdf(p if correct else -p)
        if seconds is not None:
            s2 = item.sigma2 + item.time_var
            precision += item.phi**2 / s2
            weighted = weighted + item.phi * (item.lambda_ - np.log(seconds)) / s2
    log_joint = log_joint + 0.5 * weighted**2 / precision - 0.5 * mean**2 / v
    weights = np.exp(log_joint - log_joint.max())
    weights[[0, -1]] /= 2
    weights /= weights.sum()
    summary = after(history).summary()
    assert summary.theta == pytest.approx(weights @ theta, abs=2e-3)
    assert summary.zeta == pytest.approx(weights @ (weighted / precision), abs=1e-3)
    assert summary.theta_sd == pytest.approx(np.sqrt(weights @ theta**2 - (weights @ theta) ** 2), abs=2e-3)


def test_equals_the_fit_that_saw_the_same_answers() -> None:
    rng = np.random.default_rng(3)
    person, item = np.repeat(np.arange(40), 10), np.tile(np.arange(10), 40)
    correct, seconds = rng.integers(0, 2, 400).astype(float), rng.lognormal(3, 0.5, 400)
    correct[::7] = seconds[::11] = np.nan
    fitted = fit(person, item, correct, seconds)
    posterior = newcomer(fitted.population)
    for k in range(10):
        known = replace(fitted.item(k), alpha_var=0.0, beta_var=0.0, time_var=0.0)
        mark, time = correct[50 + k], seconds[50 + k]
        posterior = update(posterior, known, None if np.isnan(mark) else bool(mark), None if np.isnan(time) else time)
    summary = posterior.summary()
    assert (summary.theta, summary.zeta) == pytest.approx((fitted.theta[5], fitted.zeta[5]), abs=1e-4)
    assert (summary.theta_sd, summary.zeta_sd) == pytest.approx((fitted.theta_sd[5], fitted.zeta_sd[5]), abs=1e-4)


def test_thousands_of_answers_stay_exact_between_the_nodes() -> None:
    theta, sharp = 0.437, newcomer(POPULATION)
    rng = np.random.default_rng(0)
    for beta in rng.normal(0, 1, 4000):
        item = replace(ITEM, beta=float(beta))
        sharp = update(sharp, item, bool(rng.random() < ndtr(item.alpha * theta - beta)), None)
    summary = sharp.summary()
    assert 0.015 < summary.theta_sd < 0.03
    assert abs(summary.theta - theta) < 3 * summary.theta_sd


def test_right_answers_raise_and_quick_ones_speed_up() -> None:
    strong = after([(ITEM, True, 5.0)] * 5)
    weak = after([(ITEM, False, 60.0)] * 5)
    assert predict(strong, ITEM).probability > predict(newcomer(POPULATION), ITEM).probability
    assert predict(newcomer(POPULATION), ITEM).probability > predict(weak, ITEM).probability
    assert predict(strong, ITEM).seconds < predict(newcomer(POPULATION), ITEM).seconds < predict(weak, ITEM).seconds


def test_ten_right_answers_do_not_make_certain() -> None:
    said = predict(after([(ITEM, True, None)] * 10), ITEM)
    assert 0.8 < said.probability < 0.97


@given(history=answers, item=items, coverage=st.floats(0.2, 0.98))
def test_bounds_hold_what_they_promise(
    history: list[tuple[ItemParameters, bool | None, float | None]], item: ItemParameters, coverage: float
) -> None:
    posterior = after(history)
    said = predict(posterior, item, coverage=coverage)
    assert 0 <= said.probability_low <= said.probability <= said.probability_high <= 1
    s, (theta, _) = posterior.summary(), POPULATION.fine
    means = item.lambda_ - item.phi * (s.zeta + s.carried * (theta - s.theta))
    sd = np.sqrt(item.sigma2 + item.time_var + item.phi**2 / s.precision)
    for seconds, level in (
        (said.seconds_low, (1 - coverage) / 2),
        (said.seconds, 0.5),
        (said.seconds_high, (1 + coverage) / 2),
    ):
        assert s.weights @ norm.cdf((np.log(seconds) - means) / sd) == pytest.approx(level, abs=1e-3)


def test_uncertain_items_widen_both_intervals() -> None:
    posterior = after([(ITEM, True, 20.0)] * 5)
    sure, unsure = predict(posterior, ITEM), predict(posterior, replace(ITEM, beta_var=1.0, time_var=0.3))
    assert unsure.probability_high - unsure.probability_low > sure.probability_high - sure.probability_low
    assert unsure.seconds_high / unsure.seconds_low > sure.seconds_high / sure.seconds_low
    assert abs(unsure.probability - 0.5) < abs(sure.probability - 0.5)


def test_limit_caps_the_time_and_keeps_the_coverage() -> None:
    rng = np.random.default_rng(1)
    posterior = after([(ITEM, True, 20.0)] * 5)
    s = posterior.summary()
    speed = rng.normal(s.zeta, s.zeta_sd, 100_000)
    seconds = np.minimum(np.exp(rng.normal(ITEM.lambda_ - ITEM.phi * speed, np.sqrt(ITEM.sigma2))), 25.0)
    said = predict(posterior, ITEM, coverage=0.9, limit_seconds=25.0)
    assert np.mean((seconds >= said.seconds_low) & (seconds <= said.seconds_high)) == pytest.approx(0.9, abs=0.01)
    assert said.mean_log_seconds == pytest.approx(np.log(seconds).mean(), abs=0.01)


def test_a_time_out_slows_a_little_and_never_reorders() -> None:
    start = newcomer(POPULATION)
    out = update(start, ITEM, None, 40.0, censored=True)
    assert out.summary().zeta < start.summary().zeta
    one = update(out, ITEM, True, 12.0)
    other = update(update(start, ITEM, True, 12.0), ITEM, None, 40.0, censored=True)
    assert one.to_array() == pytest.approx(other.to_array())


def test_a_time_out_has_the_tails_own_moments() -> None:
    out = update(newcomer(POPULATION), ITEM, None, 25.0, censored=True)
    zeta = np.linspace(-3, 3, 20_001)
    density = norm.pdf(zeta, POPULATION.mu_zeta, np.sqrt(POPULATION.var_zeta))
    density *= ndtr((ITEM.lambda_ - ITEM.phi * zeta - np.log(25.0)) / np.sqrt(ITEM.sigma2))
    density /= density.sum()
    mean = density @ zeta
    s = out.summary()
    assert (s.zeta, s.zeta_sd) == pytest.approx((mean, np.sqrt(density @ (zeta - mean) ** 2)), abs=1e-3)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_times_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds > 0"):
        update(newcomer(POPULATION), ITEM, True, seconds)


@pytest.mark.parametrize("array", [np.zeros(5), np.full(33, np.nan)])
def test_foreign_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        Posterior.from_array(array, POPULATION)

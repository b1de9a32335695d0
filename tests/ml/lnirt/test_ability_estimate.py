"""What a state says of ability, speed and the next task: exact, where the student stays as they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import norm

from app.ml.lnirt.ability import STATE, estimate, newcomers, predict_one, predictor
from app.ml.lnirt.estimation import fit
from app.ml.lnirt.population import ItemParameters, Population
from tests.ml.following import exactly

History = list[tuple[ItemParameters, bool | None, float | None]]
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


@settings(max_examples=30)
@given(history=answers)
def test_moments_equal_a_dense_integral(history: History) -> None:
    """Posterior of (theta, zeta) by brute force, theta on 2,001 points and zeta in closed form beside it."""
    u = np.linspace(-4.5, 4.5, 2001)
    theta = POPULATION.mu_theta + u * np.sqrt(POPULATION.var_theta)
    log_joint = norm.logpdf(u)
    v = POPULATION.var_zeta_given_theta
    mean = POPULATION.mu_zeta + POPULATION.slope * (theta - POPULATION.mu_theta)
    precision, weighted = 1 / v, mean / v
    for item, correct, seconds in history:
        if correct is not None:
            p = predictor(item, theta)
            log_joint = log_joint + norm.logcdf(p if correct else -p)
        if seconds is not None:
            s2 = item.sigma2 + item.time_var
            precision += item.phi**2 / s2
            weighted = weighted + item.phi * (item.lambda_ - np.log(seconds)) / s2
    log_joint = log_joint + 0.5 * weighted**2 / precision - 0.5 * mean**2 / v
    weights = np.exp(log_joint - log_joint.max())
    weights[[0, -1]] /= 2
    weights /= weights.sum()
    summary = estimate(POPULATION, exactly(POPULATION, history))
    assert summary.theta == pytest.approx(weights @ theta, abs=2e-3)
    assert summary.zeta == pytest.approx(weights @ (weighted / precision), abs=1e-3)
    assert summary.theta_sd == pytest.approx(np.sqrt(weights @ theta**2 - (weights @ theta) ** 2), abs=2e-3)


def test_equals_the_fit_that_saw_the_same_answers() -> None:
    rng = np.random.default_rng(3)
    person, item = np.repeat(np.arange(40), 10), np.tile(np.arange(10), 40)
    correct, seconds = rng.integers(0, 2, 400).astype(float), rng.lognormal(3, 0.5, 400)
    correct[::7] = seconds[::11] = np.nan
    fitted = fit(person, item, correct, seconds)
    history: History = []
    for k in range(10):
        known = fitted.item(k)._replace(alpha_var=0.0, beta_var=0.0, alpha_beta_cov=0.0, time_var=0.0)
        mark, time = correct[50 + k], float(seconds[50 + k])
        history.append((known, None if np.isnan(mark) else bool(mark), None if np.isnan(time) else time))
    state = exactly(fitted.population, history)
    summary = estimate(fitted.population, state)
    assert state[:STATE] == pytest.approx(fitted.states[5, :STATE])
    assert (summary.theta, summary.zeta) == pytest.approx((fitted.theta[5], fitted.zeta[5]), abs=1e-4)
    assert (summary.theta_sd, summary.zeta_sd) == pytest.approx((fitted.theta_sd[5], fitted.zeta_sd[5]), abs=1e-4)


def test_thousands_of_answers_stay_exact_between_the_nodes() -> None:
    theta = 0.437
    rng = np.random.default_rng(0)
    items = [ITEM._replace(beta=float(beta)) for beta in rng.normal(0, 1, 4000)]
    history: History = [(item, bool(rng.random() < ndtr(item.alpha * theta - item.beta)), None) for item in items]
    summary = estimate(POPULATION, exactly(POPULATION, history))
    assert 0.015 < summary.theta_sd < 0.03
    assert abs(summary.theta - theta) < 3 * summary.theta_sd


def test_right_answers_raise_and_quick_ones_speed_up() -> None:
    histories: list[History] = [[(ITEM, True, 5.0)] * 5, [], [(ITEM, False, 60.0)] * 5]
    strong, new, weak = (predict_one(POPULATION, exactly(POPULATION, each), ITEM) for each in histories)
    assert strong.probability > new.probability > weak.probability
    assert strong.log_seconds < new.log_seconds < weak.log_seconds


def test_ten_right_answers_do_not_make_certain() -> None:
    said = predict_one(POPULATION, exactly(POPULATION, [(ITEM, True, None)] * 10), ITEM)
    assert 0.8 < said.probability < 0.97


@given(history=answers, item=items)
def test_bounds_and_spread_hold_what_they_promise(history: History, item: ItemParameters) -> None:
    state = exactly(POPULATION, history)
    said = predict_one(POPULATION, state, item)
    assert 0 <= said.low <= said.probability <= said.high <= 1
    known, theta = estimate(POPULATION, state), POPULATION.fine[0]
    v = POPULATION.var_zeta_given_theta
    precision = 1 / v + state[0]
    means = (
        item.lambda_
        - item.phi
        * ((POPULATION.mu_zeta + POPULATION.slope * (theta - POPULATION.mu_theta)) / v + state[1])
        / precision
    )
    mean = known.weights @ means
    var = item.sigma2 + item.time_var + item.phi**2 / precision + known.weights @ (means - mean) ** 2
    assert (said.log_seconds, said.spread) == pytest.approx((mean, np.sqrt(var)), rel=1e-6)


def test_uncertain_items_widen_both_intervals() -> None:
    state = exactly(POPULATION, [(ITEM, True, 20.0)] * 5)
    sure, unsure = (predict_one(POPULATION, state, each) for each in (ITEM, ITEM._replace(beta_var=1.0, time_var=0.3)))
    assert unsure.high - unsure.low > sure.high - sure.low
    assert unsure.spread > sure.spread
    assert abs(unsure.probability - 0.5) < abs(sure.probability - 0.5)


def test_nobody_is_known_before_the_first_answer() -> None:
    _, *said = estimate(POPULATION, newcomers(POPULATION)[0])
    sd = np.sqrt([POPULATION.var_theta, POPULATION.var_zeta])
    assert said == pytest.approx([0.1, sd[0], -0.05, sd[1]], abs=1e-3)

"""The LNIRT fit: against brute force, against the truth of simulations, and against R's LNIRT where that is at hand."""

import csv
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from app.ml.lnirt import data
from app.ml.lnirt.ability import columns_of, estimate, predict, predict_one
from app.ml.lnirt.data import Floats, Responses, sparse_answers
from app.ml.lnirt.em import Curves, e_step, item_score, total
from app.ml.lnirt.estimation import LnirtFit, fit
from app.ml.lnirt.parameters import Grid, Parameters, Prior, item_mean, log_prior, normal_grid

SHARED = Path(__file__).parents[3].parent / "shared"
needs_reference = pytest.mark.skipif(
    not (SHARED / "reference" / "lnirt").exists(), reason="R's reference fits are not beside the project (../shared)"
)
NAN = float("nan")


@dataclass
class Sample:
    """Simulated answers in long form and the parameters they come from."""

    person: NDArray[np.int64]
    item: NDArray[np.int64]
    correct: Floats
    seconds: Floats
    truth: dict[str, Floats]

    def fit(self, **options: Any) -> LnirtFit:
        return fit(self.person, self.item, self.correct, self.seconds, **options)


def sample(n: int = 200, k: int = 20, seed: int = 0, sigma2: float = 0.26) -> Sample:
    rng = np.random.default_rng(seed)
    theta, zeta = rng.multivariate_normal([0, 0], [[1, 0.12], [0.12, 0.09]], n).T
    alpha, phi = np.exp(rng.normal(0, 0.25, (2, k)))
    beta, lam = rng.normal(0, 1, k), rng.normal(3, 0.5, k)
    person, item = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    correct = (rng.normal(size=n * k) < alpha[item] * theta[person] - beta[item]).astype(float)
    seconds = np.exp(rng.normal(lam[item] - phi[item] * zeta[person], np.sqrt(sigma2)))
    truth = {"theta": theta, "zeta": zeta, "alpha": alpha, "beta": beta, "phi": phi, "lambda_": lam}
    return Sample(person, item, correct, seconds, truth)


def cor(x: NDArray[Any], y: NDArray[Any]) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def numbers(fitted: LnirtFit) -> Floats:
    """Every number of a fit."""
    names = ["alpha", "beta", "phi", "lambda_", "sigma2", "alpha_se", "beta_se", "phi_se", "lambda_se", "sigma2_se"]
    names += ["theta", "zeta", "theta_sd", "zeta_sd", "states", "item_cov"]
    return np.concatenate([*(np.ravel(getattr(fitted, name)) for name in names), astuple(fitted.population)])


# --- The likelihood


def small_case(seed: int, *, censored: bool) -> tuple[dict[str, Any], Parameters]:
    """Six persons, three items, some marks and times missing, some times censored; random parameters."""
    rng = np.random.default_rng(seed)
    person, item = np.repeat(np.arange(6), 3), np.tile(np.arange(3), 6)
    correct = np.where(rng.random(18) < 0.2, NAN, rng.integers(0, 2, 18))
    logt = np.where(rng.random(18) < 0.2, NAN, rng.normal(0, 0.7, 18))
    cut = (rng.random(18) < 0.4) & ~np.isnan(logt) & censored
    x = rng.normal([1, 0, 1, 0], [0.2, 0.7, 0.2, 0.3], (3, 4))
    p = Parameters(x, rng.normal(-1, 0.3, 3), np.array([rng.normal(0, 0.2), rng.normal(-0.7, 0.2), rng.normal(0, 0.5)]))
    return {"person": person, "item": item, "correct": correct, "logt": logt, "censored": cut}, p


def log_likelihood_by_brute_force(case: dict[str, Any], p: Parameters) -> float:
    """Sum over a dense grid of (theta, zeta), straight from the model's definition."""
    step = 0.05
    axis = np.arange(-6, 6.01, step)
    u, w = np.meshgrid(axis, axis, indexing="ij")
    v = p.rho * u + np.sqrt(1 - p.rho**2) * w
    theta, zeta = p.sd[0] * u, p.sd[1] * v
    total = 0.0
    for i in range(6):
        density: Floats = np.asarray(norm.pdf(u) * norm.pdf(w) * step**2)
        for row in np.flatnonzero(case["person"] == i):
            k, mark, logt = case["item"][row], case["correct"][row], case["logt"][row]
            probability = norm.cdf(p.alpha[k] * theta - p.x[k, 1])
            if not np.isnan(mark):
                density = density * (probability if mark else 1 - probability)
            if not np.isnan(logt):
                time = norm(p.lambda_[k] - p.phi[k] * zeta, np.sqrt(p.sigma2[k]))
                density = density * (time.sf(logt) if case["censored"][row] else time.pdf(logt))
        total += float(np.log(density.sum()))
    return total


def log_likelihood(answers: Responses, p: Parameters, grid: Grid) -> float:
    return total(answers.each(e_step, Curves.of(p, grid))).log_evidence


@pytest.mark.parametrize("censored", [False, True])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_likelihood_is_the_models_own(censored: bool, seed: int) -> None:
    case, p = small_case(seed, censored=censored)
    answers = sparse_answers(**case, n_persons=6, n_items=3)
    assert log_likelihood(answers, p, normal_grid(61)) == pytest.approx(
        log_likelihood_by_brute_force(case, p), abs=2e-4
    )


@pytest.mark.parametrize("censored", [False, True])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_em_points_uphill_on_the_marginal_likelihood(censored: bool, seed: int) -> None:
    """Fisher's identity: the expected complete-data score is the gradient of the marginal log posterior."""
    case, p = small_case(seed, censored=censored)
    answers, prior, grid = sparse_answers(**case, n_persons=6, n_items=3), Prior(), normal_grid(61)
    curves = Curves.of(p, grid)
    score, _ = item_score(total(answers.each(e_step, curves)), curves)
    score -= (p.x - item_mean(p.x, prior)) @ np.linalg.inv(prior.cov)
    for place in np.ndindex(3, 4):
        nudge = np.zeros((3, 4))
        nudge[place] = 1e-4
        nudged = (Parameters(p.x + sign * nudge, p.log_sigma2, p.population) for sign in (1, -1))
        up, down = (log_likelihood(answers, each, grid) + log_prior(each, prior, answers.n_times) for each in nudged)
        assert (up - down) / 2e-4 == pytest.approx(score[place], abs=5e-3)


# --- The fit


@pytest.mark.parametrize("answers_of_a_shard", [1, 37, 900])
def test_a_fit_in_shards_of_any_size_is_the_same(answers_of_a_shard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with times that were cut off, marks that are missing, students of few answers and those of many."""
    made, random = sample(150, 12), np.random.default_rng(1)
    kept = random.random(len(made.person)) < (1 + made.person) / 150
    correct = np.where(random.random(len(made.person)) < 0.1, NAN, made.correct)
    answers = made.person[kept], made.item[kept], correct[kept], made.seconds.clip(max=50)[kept]
    whole = fit(*answers, censored=made.seconds[kept] > 50)
    monkeypatch.setattr(data, "SHARD_ANSWERS", answers_of_a_shard)
    monkeypatch.setattr(data, "SHARD_PERSONS", 60)
    shards = fit(*answers, censored=made.seconds[kept] > 50)
    np.testing.assert_allclose(numbers(shards), numbers(whole), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(shards.states, whole.states, rtol=1e-9, atol=1e-9)


def test_a_fit_that_keeps_no_states_is_the_same() -> None:
    with_states, without = sample(60, 8).fit(), sample(60, 8).fit(with_states=False)
    assert without.states.shape == (60, 0)
    assert numbers(without).tolist() == numbers(replace(with_states, states=without.states)).tolist()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 30), k=st.integers(1, 8), cut=st.booleans())
def test_every_step_goes_uphill_and_every_number_is_finite(seed: int, n: int, k: int, cut: bool) -> None:
    rng = np.random.default_rng(seed)
    data = sample(n, k, seed)
    data.correct[rng.random(n * k) < 0.2] = NAN
    data.correct[0] = 1.0
    data.seconds[rng.random(n * k) < 0.2] = NAN
    fitted = data.fit(censored=(rng.random(n * k) < 0.2) if cut else None)
    assert fitted.converged
    assert (np.diff(fitted.trace) >= -1e-9 * np.abs(fitted.trace[0])).all()
    assert np.isfinite(numbers(fitted)).all()


def test_scale_is_that_of_r() -> None:
    fitted = sample().fit()
    assert np.abs([fitted.theta.mean(), fitted.zeta.mean()]).max() < 1e-9
    assert np.exp([np.log(fitted.alpha).mean(), np.log(fitted.phi).mean()]) == pytest.approx([1, 1])


def test_finds_the_truth_and_knows_its_error() -> None:
    data = sample(500, 20)
    fitted = data.fit()
    for name, least in {
        "alpha": 0.75,
        "beta": 0.99,
        "phi": 0.95,
        "lambda_": 0.999,
        "theta": 0.91,
        "zeta": 0.91,
    }.items():
        assert cor(getattr(fitted, name), data.truth[name]) > least, name
    for name in ("beta", "lambda_"):
        off = (getattr(fitted, name) - data.truth[name]) / getattr(fitted, f"{name.rstrip('_')}_se")
        assert 0.5 < np.std(off) < 1.6, name
    off = (fitted.theta - data.truth["theta"]) / fitted.theta_sd
    assert 0.9 < np.std(off) < 1.1


def test_order_and_names_of_rows_change_nothing() -> None:
    data = sample(30, 8)
    shuffled = np.random.default_rng(1).permutation(len(data.person))
    one = data.fit()
    names = [f"student {i}" for i in data.person[shuffled]], [("exercise", int(k)) for k in data.item[shuffled]]
    other = fit(*names, data.correct[shuffled], data.seconds[shuffled])
    place = {label: i for i, label in enumerate(other.items.tolist())}
    assert [other.beta[place["exercise", k]] for k in range(8)] == pytest.approx(one.beta, abs=1e-3)


def test_minutes_instead_of_seconds_only_move_lambda() -> None:
    data = sample(40, 8)
    seconds, minutes = data.fit(), fit(data.person, data.item, data.correct, data.seconds / 60)
    assert minutes.lambda_ == pytest.approx(seconds.lambda_ - np.log(60), abs=1e-6)
    assert minutes.theta == pytest.approx(seconds.theta, abs=1e-6)


def test_censored_times_are_not_taken_for_observed_ones() -> None:
    data = sample(500, 20)
    limit = float(np.quantile(data.seconds, 0.8))
    cut, truth = data.seconds >= limit, data.truth["lambda_"]
    data.seconds = np.minimum(data.seconds, limit)
    naive, aware = data.fit(), data.fit(censored=cut)
    slow = truth > np.log(limit)
    assert slow.any()
    assert np.abs(aware.lambda_ - truth)[slow].max() < 0.12
    assert np.abs(naive.lambda_ - truth)[slow].min() > 0.12
    assert aware.sigma2.mean() == pytest.approx(0.26, abs=0.015)


def test_the_states_of_a_fit_say_what_it_found_of_its_students() -> None:
    data = sample(60, 12)
    limit = float(np.quantile(data.seconds, 0.8))
    cut = data.seconds >= limit
    data.seconds = np.minimum(data.seconds, limit)
    fitted = data.fit(censored=cut)
    said = np.array([estimate(fitted.population, state)[1:] for state in fitted.states])
    found = np.column_stack([fitted.theta, fitted.theta_sd, fitted.zeta, fitted.zeta_sd])
    assert np.abs(said - found).max() < 0.02


def test_quarter_of_the_cells_missing_by_design() -> None:
    found = []
    for seed in range(3):
        data = sample(500, 20, seed)
        missing = np.random.default_rng(seed).random(len(data.person)) < 0.25
        data.correct[missing] = data.seconds[missing] = NAN
        found.append(cor(data.fit().theta, data.truth["theta"]))
    assert np.mean(found) > 0.91


# --- Small data


def test_residual_variance_of_33_students_is_unbiased() -> None:
    assert np.mean([sample(33, 20, seed).fit().sigma2.mean() for seed in range(50)]) == pytest.approx(0.26, abs=0.02)


def test_five_students_converge() -> None:
    for seed in range(10):
        fitted = sample(5, 10, seed).fit()
        assert fitted.converged
        assert 0.1 < fitted.population.var_theta < 3


def test_one_student_with_thousands_of_answers_says_little_of_others() -> None:
    """Else the next newcomer would be expected far from the only student known."""
    rng = np.random.default_rng(0)
    item = rng.integers(0, 60, 2000)
    beta, lam = rng.normal(0, 1, 60), rng.normal(3, 0.5, 60)
    correct, seconds = rng.normal(size=2000) < 0.5 - beta[item], np.exp(rng.normal(lam[item], 0.5))
    fitted = fit(["a"] * 2000, item, correct, seconds)
    assert fitted.converged
    assert max(abs(fitted.population.mu_theta), abs(fitted.population.mu_zeta)) < 1
    assert fitted.population.var_theta < 2


def test_one_student_all_correct_stays_modest() -> None:
    fitted = fit(["a"] * 8, list(range(8)), [1] * 8, [20.0] * 8)
    above = estimate(fitted.population, fitted.states[0]).theta - fitted.population.mu_theta
    assert abs(fitted.theta[0]) < 2
    assert 0.2 < above < 2
    assert 0.7 < predict_one(fitted.population, fitted.states[0], fitted.item(0)).probability < 0.98


ODD_CASES: dict[str, tuple[Any, Any, Any, Any]] = {
    "one answer": ([1], [1], [1], [20.0]),
    "constant times": (np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5), np.arange(20) % 2, [30.0] * 20),
    "one item": (np.arange(10), [0] * 10, [1, 0] * 5, np.arange(1, 11)),
    "one item thirty times": ([0] * 30, [0] * 30, [1] * 30, [20.0] * 30),
    "all wrong": (np.repeat(np.arange(30), 4), np.tile(np.arange(4), 30), [0] * 120, np.linspace(5, 50, 120)),
    "no times": (np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5), np.arange(20) % 2, [NAN] * 20),
    "no marks": (np.repeat(np.arange(5), 4), np.tile(np.arange(4), 5), [NAN] * 20, np.linspace(5, 50, 20)),
    "absurd times": ([0, 1, 2], [0, 1, 2], [1, 0, 1], [1e-6, 1e8, 5.0]),
    "items seen once": (np.arange(50), np.arange(50), np.arange(50) % 2, np.linspace(5, 50, 50)),
}


@pytest.mark.parametrize("case", ODD_CASES.values(), ids=ODD_CASES.keys())
@pytest.mark.parametrize("censored", [False, True])
@pytest.mark.filterwarnings("error")
def test_odd_data_give_finite_numbers(case: tuple[Any, Any, Any, Any], censored: bool) -> None:
    fitted = fit(*case, censored=[censored] * len(case[0]))
    assert np.isfinite(numbers(fitted)).all()
    assert np.abs(fitted.theta).max() < 4
    assert (fitted.alpha > 0).all()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"correct": [2.0, 1.0]}, "0, 1 or NaN"),
        ({"seconds": [0.0, 1.0]}, "seconds to be > 0"),
        ({"seconds": [np.inf, 1.0]}, "seconds to be > 0"),
        ({"item": [1]}, "equally long"),
        ({"correct": [NAN, NAN], "seconds": [NAN, NAN]}, "at least one answer"),
        ({"person": [], "item": [], "correct": [], "seconds": []}, "at least one answer"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], sentence: str) -> None:
    columns: dict[str, Any] = {"person": [1, 1], "item": [1, 2], "correct": [1.0, 0.0], "seconds": [3.0, 4.0]} | changes
    with pytest.raises(ValueError, match=sentence):
        fit(**columns)


# --- Files


def test_csv_files_hold_items_persons_and_population(tmp_path: Path) -> None:
    fitted = sample(12, 5).fit()
    fitted.write_csv(tmp_path)
    tables = {
        name: list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("items", "persons", "population")
    }
    names = ["alpha", "beta", "phi", "lambda", "sigma2"]
    assert list(tables["items"][0]) == ["item", *names, *(f"{name}_se" for name in names)]
    assert list(tables["persons"][0]) == ["person", "theta", "zeta", "theta_sd", "zeta_sd"]
    assert [float(row["lambda"]) for row in tables["items"]] == pytest.approx(fitted.lambda_)
    assert {row["param"] for row in tables["population"]} >= {"var_theta", "var_zeta", "cov_theta_zeta"}


# --- Beside R


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Columns of a CSV; empty = NaN; text where a column is no number."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    columns: dict[str, NDArray[Any]] = {}
    for name, values in zip(header, zip(*rows, strict=True), strict=True):
        try:
            columns[name] = np.array([float(value or "nan") for value in values])
        except ValueError:
            columns[name] = np.array(values)
    return columns


@needs_reference
def test_agrees_with_rs_corrected_fit_of_chess() -> None:
    data = read(SHARED / "data/chess/interactions_matrix_long.csv")
    fitted = fit(data["person"], data["item"], data["correct"], data["time_seconds"])
    folder = SHARED / "reference/lnirt/chess/full_fixed"
    items, persons = read(folder / "items.csv"), read(folder / "persons.csv")
    for name in ("alpha", "beta", "phi", "lambda", "sigma2"):
        assert cor(getattr(fitted, "lambda_" if name == "lambda" else name), items[name]) > 0.995, name
    for name in ("theta", "zeta"):
        assert cor(getattr(fitted, name), persons[name]) > 0.999, name
    assert np.median(fitted.beta_se / items["beta_sd"]) == pytest.approx(1, abs=0.1)
    assert fitted.population.cor == pytest.approx(0.65, abs=0.03)


@needs_reference
def test_recovers_the_simulated_test_as_well_as_r() -> None:
    folder = SHARED / "reference/lnirt/sim500x20"
    data, reference = read(folder / "data.csv"), read(folder / "recovery.csv")
    truth = read(folder / "true_items.csv") | read(folder / "true_persons.csv")
    fitted = fit(data["person"], data["item"], data["correct"], data["time_seconds"])
    for name, r_cor, r_rmse in zip(reference["param"], reference["cor"], reference["rmse"], strict=True):
        found = getattr(fitted, "lambda_" if name == "lambda" else str(name))
        assert cor(found, truth[name]) > r_cor - 0.0005, name
        assert np.sqrt(np.mean((found - truth[name]) ** 2)) < 1.02 * r_rmse, name


@needs_reference
@pytest.mark.parametrize("limited", [False, True])
def test_predicts_the_held_out_chess_answers(limited: bool) -> None:
    data = read(SHARED / "data/chess/interactions_matrix_long.csv")
    split = read(SHARED / "data/chess/split.csv")
    folds = dict(zip(zip(split["person"], split["item"], strict=True), split["fold"].tolist(), strict=True))
    fold = np.array([folds[cell] for cell in zip(data["person"], data["item"], strict=True)])
    training, test = fold == "train", fold == "test"
    columns = [data[name][training] for name in ("person", "item", "correct", "time_seconds")]
    fitted = fit(*columns, censored=columns[3] >= 30 if limited else None)
    people, items = ({x: i for i, x in enumerate(labels.tolist())} for labels in (fitted.persons, fitted.items))
    who = [people[i] for i in data["person"][test].tolist()]
    what = columns_of([fitted.item(items[k]) for k in data["item"][test].tolist()])
    said = predict(fitted.population, fitted.states[who], what)
    right, seconds, p = data["correct"][test] == 1, data["time_seconds"][test], said.probability
    ranks = rankdata(p)[right]
    assert (ranks.sum() - len(ranks) * (len(ranks) + 1) / 2) / (len(ranks) * (~right).sum()) >= 0.887
    assert -np.mean(np.log(np.where(right, p, 1 - p))) <= 0.420
    expected, cut = said.log_seconds, np.log(30 if limited else np.inf)
    below, above = norm.cdf((cut - expected) / said.spread), norm.sf((cut - expected) / said.spread)
    if limited:  # what lies beyond is seen at the limit
        expected = expected * below - said.spread * norm.pdf((cut - expected) / said.spread) + cut * above
    off = np.log(seconds) - expected
    assert np.sqrt(np.mean(off**2)) <= (0.4785 if limited else 0.479)
    lowest = np.where(above > 0.05, 0.1, 0.05)  # where the upper tail is cut off, the interval leaves out the lower one
    low, high = (said.log_seconds + said.spread * norm.ppf(level) for level in (lowest, 0.95))
    inside = (np.log(seconds) >= low) & (np.log(seconds) <= np.where(above > 0.05, cut, high) + 1e-9)
    assert 0.88 <= np.mean(inside) <= 0.92

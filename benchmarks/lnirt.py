"""LNIRT beside R's LNIRT 0.5.1: agreement, recovery, prediction, small data, and seconds.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.lnirt [small]

Needs the reference folder `shared` beside the project for the first three parts; R's seconds are from its README
(same kind of machine, one thread, 5,000-10,000 iterations). `small` leaves out the million answers.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import csv
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from app.ml.lnirt.ability import Responses, columns_of, estimate, follow, newcomers, predict, predict_one
from app.ml.lnirt.estimation import LnirtFit, fit

SHARED = Path(__file__).parents[1].parent / "shared"
REFERENCE = SHARED / "reference" / "lnirt"
LIMIT = 30.0  # s, where the chess test cut times off
Columns = dict[str, NDArray[Any]]


def read(path: Path) -> Columns:
    """Columns of a CSV, as numbers (empty = NaN) where all of them are."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return {name: _column([row[i] for row in rows]) for i, name in enumerate(header)}


def _column(values: list[str]) -> NDArray[Any]:
    try:
        return np.array([float(value) if value not in ("", "NA") else np.nan for value in values])
    except ValueError:
        return np.array(values)


def cor(x: NDArray[Any], y: NDArray[Any]) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def rmse(x: NDArray[Any], y: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean((x - y) ** 2)))


@dataclass
class Simulated:
    person: NDArray[Any]
    item: NDArray[Any]
    correct: NDArray[Any]
    seconds: NDArray[Any]
    truth: Columns

    def fit(self, keep: NDArray[Any] | None = None) -> LnirtFit:
        kept = np.ones(len(self.person), dtype=bool) if keep is None else keep
        correct, seconds = np.where(kept, self.correct, np.nan), np.where(kept, self.seconds, np.nan)
        return fit(self.person, self.item, correct, seconds)


def simulate(n: int, k: int, per_person: int, seed: int, sigma2: float | None = None) -> Simulated:
    """n students, each with `per_person` of k items; typical of real tests: about 20 s, sd of log time 0.3 + 0.5."""
    rng = np.random.default_rng(seed)
    theta, zeta = rng.multivariate_normal([0, 0], [[1, 0.12], [0.12, 0.09]], n).T
    alpha, phi = np.exp(rng.normal(0, 0.25, (2, k)))
    beta, lam = rng.normal(0, 1, k), rng.normal(3, 0.5, k)
    variance = np.full(k, sigma2) if sigma2 else rng.uniform(0.15, 0.4, k)
    person = np.repeat(np.arange(n), per_person)
    item = np.argsort(rng.random((n, k)), axis=1)[:, :per_person].ravel()
    correct = rng.normal(size=len(person)) < alpha[item] * theta[person] - beta[item]
    logt = rng.normal(lam[item] - phi[item] * zeta[person], np.sqrt(variance[item]))
    truth = {"theta": theta, "zeta": zeta, "alpha": alpha, "beta": beta, "phi": phi, "lambda": lam, "sigma2": variance}
    return Simulated(person, item, correct.astype(float), np.exp(logt), truth)


def chess() -> Columns:
    data = read(SHARED / "data" / "chess" / "interactions_matrix_long.csv")
    split = read(SHARED / "data" / "chess" / "split.csv")
    folds = dict(zip(zip(split["person"], split["item"], strict=True), split["fold"], strict=True))
    data["fold"] = np.array([folds[cell] for cell in zip(data["person"], data["item"], strict=True)])
    return data


def agreement(data: Columns) -> dict[str, float]:
    """Correlations with R's corrected fit on quantities that do not depend on the scale."""
    ours = fit(data["person"], data["item"], data["correct"], data["time_seconds"])
    items, people = read(REFERENCE / "chess/full_fixed/items.csv"), read(REFERENCE / "chess/full_fixed/persons.csv")
    names = {"alpha sd(theta)": "alpha", "beta": "beta", "phi sd(zeta)": "phi", "lambda": "lambda", "sigma2": "sigma2"}
    found = {label: cor(number_of(ours, name), items[name]) for label, name in names.items()}
    return found | {f"{name} / sd": cor(number_of(ours, name), people[name]) for name in ("theta", "zeta")}


def number_of(fitted: LnirtFit, name: str) -> NDArray[Any]:
    return np.asarray(getattr(fitted, "lambda_" if name == "lambda" else name))


def recovery() -> list[tuple[str, float, float, float, float]]:
    """Name, our and R's correlation, our and R's RMSE on the simulated 500 x 20."""
    folder = REFERENCE / "sim500x20"
    data, reference = read(folder / "data.csv"), read(folder / "recovery.csv")
    truth = read(folder / "true_items.csv") | read(folder / "true_persons.csv")
    ours = fit(data["person"], data["item"], data["correct"], data["time_seconds"])
    return [
        (name, cor(number_of(ours, name), truth[name]), r_cor, rmse(number_of(ours, name), truth[name]), r_rmse)
        for name, r_cor, r_rmse in zip(reference["param"], reference["cor"], reference["rmse"], strict=True)
    ]


def missing_by_design() -> float:
    """Correlation of theta with the truth, a random quarter of the simulated 500 x 20 left out; mean of four draws."""
    folder = REFERENCE / "sim500x20"
    data, truth = read(folder / "data.csv"), read(folder / "true_persons.csv")
    found = []
    for seed in range(4):
        missing = np.random.default_rng(seed).random(len(data["person"])) < 0.25
        marks, times = (np.where(missing, np.nan, data[name]) for name in ("correct", "time_seconds"))
        found.append(cor(fit(data["person"], data["item"], marks, times).theta, truth["theta"]))
    return float(np.mean(found))


def prediction(data: Columns, *, limited: bool) -> dict[str, float]:
    """Scores on the chess test cells of a fit to the training cells, times beyond the limit censored or not."""
    training, test = data["fold"] == "train", data["fold"] == "test"
    cut = data["time_seconds"][training] >= LIMIT if limited else None
    fitted = fit(*(data[name][training] for name in ("person", "item", "correct", "time_seconds")), censored=cut)
    people = {label: i for i, label in enumerate(fitted.persons.tolist())}
    items = {label: i for i, label in enumerate(fitted.items.tolist())}
    who = [people[person] for person in data["person"][test].tolist()]
    what = columns_of([fitted.item(items[item]) for item in data["item"][test].tolist()])
    said = predict(fitted.population, fitted.states[who], what)
    right, seconds, p = data["correct"][test] == 1, data["time_seconds"][test], said.probability
    limit = np.log(LIMIT if limited else np.inf)
    at = (limit - said.log_seconds) / said.spread  # what lies beyond the limit is seen on it
    beyond = norm.sf(at)
    expected = said.log_seconds
    if limited:
        expected = expected * norm.cdf(at) - said.spread * norm.pdf(at) + limit * beyond
    cut = beyond > 0.05  # the interval reaches to the limit, and leaves out all of its tenth at the bottom
    low = said.log_seconds + said.spread * norm.ppf(np.where(cut, 0.1, 0.05))
    high = np.where(cut, limit + 1e-9, said.log_seconds + said.spread * norm.ppf(0.95))
    return {
        "AUC": auc(right, p),
        "log-loss": float(-np.mean(np.log(np.where(right, p, 1 - p)))),
        "RMSE log time": rmse(np.log(seconds), expected),
        "coverage of 90 %": float(np.mean((np.log(seconds) >= low) & (np.log(seconds) <= high))),
    }


def auc(right: NDArray[Any], p: NDArray[Any]) -> float:
    ranks, ones = rankdata(p), right.sum()
    return float((ranks[right].sum() - ones * (ones + 1) / 2) / (ones * (len(right) - ones)))


def best_of(runs: int, job: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs: the machine is shared."""
    spent = []
    for _ in range(runs):
        begin = time.perf_counter()
        job()
        spent.append(time.perf_counter() - begin)
    return min(spent)


def speed(million: bool) -> None:
    print(f"\n{'Seconds, one thread':42s} {'here':>8s} {'R':>8s}")
    if SHARED.exists():
        data = chess()
        columns = [data[name] for name in ("person", "item", "correct", "time_seconds")]
        cut = data["time_seconds"] >= LIMIT
        print(f"{'chess, 10,240 answers':42s} {best_of(5, lambda: fit(*columns)):8.3f}   89-105")
        print(f"{'the same, censored at 30 s':42s} {best_of(5, lambda: fit(*columns, censored=cut)):8.3f}        -")
    sizes = [(500, 20, 20, "46"), (1636, 170, 170, "580-698")] + [(20_000, 500, 50, "-")] * million
    for n, k, per_person, r in sizes:
        sim = simulate(n, k, per_person, seed=1)
        name = f"{n:,} x {k}, {n * per_person:,} answers"
        print(f"{name:42s} {best_of(3, sim.fit):8.3f} {r:>8s}")
    print(f"peak memory of all that: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    fitted = simulate(100, 20, 20, seed=2).fit()
    population, state, item = fitted.population, fitted.states[3], fitted.item(3)
    answer, begin, once = (
        Responses(columns_of([item]), np.ones(1, np.bool_), np.log([20.0])),
        state[None],
        np.ones(1, int),
    )
    one = best_of(20, lambda: [follow(population, answer, once, begin) for _ in range(100)]) / 100
    other = best_of(20, lambda: [predict_one(population, state, item) for _ in range(100)]) / 100
    new = best_of(20, lambda: [predict_one(population, newcomers(population)[0], item) for _ in range(100)]) / 100
    print(f"one update {one * 1e6:.0f} us, one prediction {other * 1e6:.0f} us, of a newcomer {new * 1e6:.0f} us")


def small_data() -> None:
    print("\nSmall data, 50 simulations each")
    for n in (5, 33):
        fits = [simulate(n, 20, 20, seed, sigma2=0.26).fit() for seed in range(50)]
        mean, sure = np.mean([f.sigma2.mean() for f in fits]), np.mean([f.converged for f in fits])
        print(f"{n:3d} students, 20 items: sigma2 {mean:.3f} (true 0.26), converged {sure:.0%}")
    fitted = fit(["a"] * 8, list("12345678"), [1] * 8, [20.0] * 8)
    above = estimate(fitted.population, fitted.states[0]).theta - fitted.population.mu_theta
    print(f"  1 student, 8 of 8 right: theta {fitted.theta[0]:.2f}, {above:.2f} above the population")
    found = []
    for seed in range(8):
        sim = simulate(500, 20, 20, seed)
        fitted = sim.fit(np.random.default_rng(seed).random(len(sim.person)) >= 0.25)
        found.append(cor(fitted.theta, sim.truth["theta"]))
    if SHARED.exists():
        print(
            f"25 % missing of the reference's 500 x 20: cor(theta, truth) {missing_by_design():.3f} (R's switch: 0.41)"
        )
    print(f"25 % missing by design, 500 x 20: cor(theta, truth) {np.mean(found):.3f}, least {min(found):.3f}")


def main() -> None:
    if SHARED.exists():
        data = chess()
        print("Agreement with R's corrected fit of chess:")
        print("  " + "   ".join(f"{name} {value:.4f}" for name, value in agreement(data).items()))
        print("\nRecovery, 500 x 20      cor here        R    RMSE here        R")
        for name, ours, r, our_rmse, r_rmse in recovery():
            print(f"{name:20s} {ours:11.4f} {r:8.4f} {our_rmse:12.4f} {r_rmse:8.4f}")
        print("\nPrediction of chess      plain  cut at 30 s      R")
        plain, limited = prediction(data, limited=False), prediction(data, limited=True)
        for name, r in zip(plain, (0.8872, 0.4192, 0.4791, 0.9388), strict=True):
            print(f"{name:20s} {plain[name]:9.4f} {limited[name]:12.4f} {r:6.4f}")
    else:
        print("no reference folder beside the project: simulated data only")
    small_data()
    speed(million="small" not in sys.argv[1:])


if __name__ == "__main__":
    main()

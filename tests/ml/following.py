"""What LNIRT knows of one student, worked out by hand: one finished task after another, number by number.

The oracle of `app/ml/lnirt/ability.py`, which does it for many students at once.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log, log1p, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr
from sqlalchemy import RowMapping

from app.domain.attempts import DIFFICULTIES, LEAST_SECONDS, Attempts
from app.ml.answers import Answer
from app.ml.lnirt.ability import INFORMATION, PULL, STATE, Predictive, estimate, newcomers, predictor
from app.ml.lnirt.model import ServedLnirt
from app.ml.lnirt.population import ItemParameters, Population

MOST_OFF = 2.0  # standard deviations that a time counts for
MOST_OFF_AGAIN = 4.0  # where it is the second in a row beyond them to the same side
FAR, ABSURD = 4.0, 8.0  # from the former on a first time counts for less, from the latter on for nothing
NEW_PACE = 0.25  # share of what was known of the speed, by the population too, that such a second time leaves


class Told(NamedTuple):
    """A finished task, and how many on its topic and on its exercise had been finished before."""

    item: ItemParameters
    correct: bool
    seconds: float
    on_topic: int = 0
    on_item: int = 0


@dataclass
class Followed:
    """A student, as they are known."""

    population: Population
    log_weights: list[float]
    information: float = 0.0
    pull: float = 0.0
    side: int = 0  # on which the last time was beyond what counts; 0: on none

    @classmethod
    def through(cls, population: Population, tasks: Iterable[Told]) -> "Followed":
        """From a newcomer on."""
        known = cls(population, [float(weight) for weight in population.log_weights])
        for task in tasks:
            known.learn(task)
        return known

    def learn(self, task: Told) -> None:
        """One task more."""
        item = as_practised(self.population, task.item, task.on_topic, task.on_item)
        self._see_mark(item, task.correct)
        self._see_time(item, log(max(task.seconds, LEAST_SECONDS)))

    def _see_mark(self, item: ItemParameters, correct: bool) -> None:
        kept = self.population.ability_kept
        for node, theta in enumerate(self.population.theta.tolist()):
            before, prior = self.log_weights[node], float(self.population.log_weights[node])
            self.log_weights[node] = prior + kept * (before - prior) + said_by_mark(item, correct, theta)

    def _see_time(self, item: ItemParameters, log_seconds: float) -> None:
        noise = item.sigma2 + item.time_var
        centre, spread = self.expected_time(item)
        off = (log_seconds - centre) / spread
        side = 0 if abs(off) <= MOST_OFF else 1 if off > 0 else -1
        bound = MOST_OFF
        if side != 0 and side == self.side:
            self._give_up(NEW_PACE)
            bound, counts = MOST_OFF_AGAIN, 1.0
        else:
            self.information *= self.population.speed_kept
            self.pull *= self.population.speed_kept
            counts = max(0.0, min(1.0, (ABSURD - abs(off)) / (ABSURD - FAR)))
        counted = centre + max(-bound, min(bound, off)) * spread
        self.information += counts * item.phi**2 / noise
        self.pull += counts * item.phi * (item.lambda_ - counted) / noise
        self.side = side

    def _give_up(self, kept: float) -> None:
        """Leave this share of the speed's precision, which the population and the times make up; its mean stays."""
        prior, drawn = 1 / self.population.var_zeta, self.population.mu_zeta / self.population.var_zeta
        self.information = kept * (prior + self.information) - prior
        self.pull = kept * (drawn + self.pull) - drawn

    def expected_time(self, item: ItemParameters) -> tuple[float, float]:
        """Mean and standard deviation of the log seconds, by what the times alone say."""
        precision = 1 / self.population.var_zeta + self.information
        zeta = (self.population.mu_zeta / self.population.var_zeta + self.pull) / precision
        return item.lambda_ - item.phi * zeta, sqrt(item.sigma2 + item.time_var + item.phi**2 / precision)

    @property
    def state(self) -> list[float]:
        """As `ability.follow` gives it."""
        return [self.information, self.pull, float(self.side), *self.log_weights]

    def says(self, item: ItemParameters, on_topic: int = 0, on_item: int = 0) -> "Said":
        """Of a task to come; what marks and times say together, by `estimate`."""
        item = as_practised(self.population, item, on_topic, on_item)
        known = estimate(self.population, np.array(self.state))
        chances = ndtr(predictor(item, self.population.fine[0]))
        return Said(
            sum(float(weight * chance) for weight, chance in zip(known.weights, chances, strict=True)),
            item.lambda_ - item.phi * known.zeta,
            sqrt(item.sigma2 + item.time_var + (item.phi * known.zeta_sd) ** 2),
        )


class Said(NamedTuple):
    """A prediction before it is calibrated."""

    probability: float
    log_seconds: float
    spread: float

    @property
    def seconds(self) -> float:
        return exp(self.log_seconds)

    def calibrated(self, model: ServedLnirt) -> Answer:
        """As this model would answer; without bounds of the probability."""
        p, log_seconds, spread = (np.array([each]) for each in self)
        return model._calibration.answers(Predictive(p, p, p, log_seconds, spread))[0]


def exactly(
    population: Population, history: Iterable[tuple[ItemParameters, bool | None, float | None]]
) -> NDArray[np.float64]:
    """The state after these answers of a student who stays as they are, where each counts in full; None: not seen."""
    state: NDArray[np.float64] = newcomers(population)[0]
    for item, correct, seconds in history:
        if correct is not None:
            state[STATE:] += log_ndtr((1 if correct else -1) * predictor(item, population.theta))
        if seconds is not None:
            noise = item.sigma2 + item.time_var
            state[INFORMATION] += item.phi**2 / noise
            state[PULL] += item.phi * (item.lambda_ - log(seconds)) / noise
    return state


def said_by_mark(item: ItemParameters, correct: bool, theta: float) -> float:
    """The log likelihood."""
    probit = item.alpha * theta - item.beta
    probit /= sqrt(1 + item.beta_var - 2 * item.alpha_beta_cov * theta + item.alpha_var * theta**2)
    return float(log_ndtr(probit if correct else -probit))


def as_practised(population: Population, item: ItemParameters, on_topic: int, on_item: int) -> ItemParameters:
    """The item for a student who has done so many tasks on its topic and on the very exercise."""
    p = population
    topic, exercise = log1p(on_topic) - p.usual_topic, log1p(on_item) - p.usual_item
    easier = p.probit_topic * topic + p.probit_item * exercise
    slower = p.time_topic * topic + p.time_item * exercise
    return item._replace(beta=item.beta - easier, lambda_=item.lambda_ + slower)


class Task(NamedTuple):
    """One finished task of a student."""

    topic: str
    difficulty: str
    item: str | None
    correct: bool
    seconds: float

    @classmethod
    def of_row(cls, row: RowMapping) -> "Task":
        """Of `practice_tasks`."""
        return cls(row["topic"], row["difficulty"], row["item_id"], row["is_correct"], row["actual_time_seconds"])

    @classmethod
    def of(cls, attempts: Attempts, row: int) -> "Task":
        item = attempts.items[attempts.item[row]] if attempts.item[row] >= 0 else None
        topic, level = attempts.topics[attempts.topic[row]], DIFFICULTIES[attempts.difficulty[row]]
        return cls(topic, level, item, bool(attempts.correct[row]), float(attempts.seconds[row]))


class Practice:
    """What a student has finished, counted."""

    def __init__(self) -> None:
        self._topics: Counter[str] = Counter()
        self._items: Counter[str] = Counter()

    def add(self, task: Task) -> None:
        self._topics[task.topic] += 1
        if task.item is not None:
            self._items[task.item] += 1

    def of(self, topic: str, item: str | None) -> tuple[int, int]:
        """Tasks on the topic and on the exercise."""
        return self._topics[topic], 0 if item is None else self._items[item]


def told(model: ServedLnirt, tasks: Iterable[Task]) -> tuple[list[Told], Practice]:
    """What the tasks say, in the order in which they were finished; and what was practised with all of them."""
    done, found = Practice(), []
    for task in tasks:
        item = model.bank.find(task.item, task.topic, task.difficulty)
        found.append(Told(item, task.correct, task.seconds, *done.of(task.topic, task.item)))
        done.add(task)
    return found, done


def says(model: ServedLnirt, tasks: Iterable[Task], topic: str, difficulty: str, item: str | None = None) -> Said:
    """Of a task to come, after all these."""
    finished, done = told(model, tasks)
    known = Followed.through(model.population, finished)
    return known.says(model.bank.find(item, topic, difficulty), *done.of(topic, item))


def before(attempts: Attempts, row: int) -> list[Task]:
    """What the student of this row had finished when it was created."""
    finished = attempts.finished <= min(attempts.started[row], attempts.finished[row] - 1)
    rows = np.flatnonzero((attempts.student == attempts.student[row]) & finished)
    return [Task.of(attempts, int(each)) for each in rows]

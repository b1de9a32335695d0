"""Simulated students who learn by practice, in worlds that know nothing of how a plan is made.

All have the topics, the hardness and the times of `app.ml.evaluation.simulated.School`; what differs is how a task
changes what a student can do, and what a night takes away again. s students, t topics; chances are of a right answer.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from app.ml.evaluation.simulated import School, school

Floats = NDArray[np.float64]
EASY, MEDIUM, HARD = range(3)
OWN = 0.6  # sd of a student's own strength in a topic, probits
MASSED = 0.85  # what a task on the same topic later in the day still gives, of the one before it
LOGITS = 1.7  # a probit


@dataclass(frozen=True, slots=True)
class Task:
    """What a student is about to do."""

    student: int
    topic: int
    difficulty: int
    earlier_today: int  # tasks on the topic


class World(ABC):
    """Students, and the truth about them."""

    name = ""

    def __init__(self, students: int, topics: tuple[str, ...], seed: int) -> None:
        self.random = np.random.default_rng([seed, 1])
        self.truth: School = school(students, topics, seed=seed)
        own = np.random.default_rng([seed, 2]).normal(0, OWN, (students, len(topics)))
        self.base: Floats = self.truth.ability[:, None] + own  # (s, t) probits before any practice
        self.begin()

    @abstractmethod
    def begin(self) -> None:
        """Nothing has been practised."""

    @abstractmethod
    def chance(self, student: int, topic: int, difficulty: int) -> float:
        """True chance of a right answer now."""

    @abstractmethod
    def learn(self, task: Task, was_right: bool, chance: float) -> None:
        """What the task changes."""

    @abstractmethod
    def night(self) -> None:
        """What is forgotten until the next day."""

    def do(self, task: Task) -> tuple[bool, float]:
        """Do a task: if it was right, and the seconds it took."""
        chance = self.chance(task.student, task.topic, task.difficulty)
        was_right = bool(self.random.random() < chance)
        self.learn(task, was_right, chance)
        log_seconds = self.truth.effort[task.topic, task.difficulty] - self.truth.speed[task.student]
        return was_right, float(np.exp(self.random.normal(log_seconds, self.truth.spread)))

    def exam(self, difficulties: tuple[int, ...] = (MEDIUM,)) -> Floats:
        """The truth on the exam day: mean chance over the topics, of tasks of these difficulties, (s,)."""
        students, topics = self.base.shape
        return np.array(
            [np.mean([self.chance(s, t, d) for t in range(topics) for d in difficulties]) for s in range(students)]
        )


class Factors(World):
    """Performance factors: the log odds rise with every task on the topic, more with right answers than with wrong
    ones; a repetition in the same day counts less, a night takes 2 % (Pavlik, Cen & Koedinger 2009)."""

    name = "performance factors"
    RIGHT, WRONG, KEPT = 0.12, 0.06, 0.98

    def begin(self) -> None:
        self.gained = np.zeros(self.base.shape)  # logits

    def chance(self, student: int, topic: int, difficulty: int) -> float:
        start = LOGITS * (self.base[student, topic] - self.truth.hardness[topic, difficulty])
        return float(expit(start + self.gained[student, topic]))

    def learn(self, task: Task, was_right: bool, chance: float) -> None:
        step = self.RIGHT if was_right else self.WRONG
        self.gained[task.student, task.topic] += step * MASSED**task.earlier_today

    def night(self) -> None:
        self.gained *= self.KEPT


class Tracing(World):
    """Bayesian knowledge tracing: a topic is known or not; each task may bring it over, whatever its difficulty; a
    night may take it away. Slips and guesses depend on the difficulty (Corbett & Anderson 1995)."""

    name = "knowledge tracing"
    LEARN, FORGET = 0.08, 0.02
    SLIP, GUESS = (0.05, 0.12, 0.25), (0.40, 0.25, 0.12)

    def begin(self) -> None:
        known = ndtr(self.base - self.truth.hardness[:, MEDIUM])
        self.known = self.random.random(self.base.shape) < known

    def chance(self, student: int, topic: int, difficulty: int) -> float:
        return 1 - self.SLIP[difficulty] if self.known[student, topic] else self.GUESS[difficulty]

    def learn(self, task: Task, was_right: bool, chance: float) -> None:
        if self.random.random() < self.LEARN * MASSED**task.earlier_today:
            self.known[task.student, task.topic] = True

    def night(self) -> None:
        self.known &= self.random.random(self.known.shape) >= self.FORGET


class Forgetting(World):
    """Item response theory: a task lifts ability most where it goes right three or four times of five, hardly where it
    is far too easy or too hard; what was gained halves in ten days."""

    name = "forgetting"
    MOST, BEST, WIDTH, HALF_LIFE = 0.12, 0.78, 0.25, 10.0

    def begin(self) -> None:
        self.gained = np.zeros(self.base.shape)  # probits

    def chance(self, student: int, topic: int, difficulty: int) -> float:
        able = self.base[student, topic] + self.gained[student, topic]
        return float(ndtr(able - self.truth.hardness[topic, difficulty]))

    def learn(self, task: Task, was_right: bool, chance: float) -> None:
        step = self.MOST * np.exp(-0.5 * ((chance - self.BEST) / self.WIDTH) ** 2)
        self.gained[task.student, task.topic] += step * MASSED**task.earlier_today

    def night(self) -> None:
        self.gained *= 2 ** (-1 / self.HALF_LIFE)


class Mistakes(Forgetting):
    """The opposite of what a plan believes: the harder a task, the more it teaches, and repetition does no harm."""

    name = "learning from mistakes"

    def learn(self, task: Task, was_right: bool, chance: float) -> None:
        self.gained[task.student, task.topic] += self.MOST * (1 - chance)


class Saturating(World):
    """Each topic has a ceiling that ability climbs to by a share of what is missing; a wrong answer that is corrected
    teaches twice what a right one does; nothing is forgotten."""

    name = "towards a ceiling"
    RIGHT, WRONG, ROOM = 0.02, 0.04, 2.0

    def begin(self) -> None:
        self.gained = np.zeros(self.base.shape)  # probits

    chance = Forgetting.chance

    def learn(self, task: Task, was_right: bool, chance: float) -> None:
        missing = self.ROOM - self.gained[task.student, task.topic]
        share = self.RIGHT if was_right else self.WRONG
        self.gained[task.student, task.topic] += missing * share * MASSED**task.earlier_today

    def night(self) -> None:
        return None


WORLDS: tuple[type[World], ...] = (Factors, Tracing, Forgetting, Saturating, Mistakes)

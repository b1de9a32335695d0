"""Simulated students with a known truth: a log-normal response time IRT world in which practice helps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from app.domain.attempts import DIFFICULTIES, Attempts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOPICS = ("algebra", "fractions", "geometry", "percentages", "statistics", "word problems")
FIRST_DAY = 1_757_000_000_000_000  # microseconds UTC, a school morning in September 2025
SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
SESSION = 10  # tasks a student does in one sitting, one sitting a day


@dataclass(frozen=True, slots=True)
class School:
    """The truth: s students, t topics, three difficulties.

    P(correct) = Phi(ability + learning * log(1 + practised) - hardness), and the log of the time is normal around
    effort - speed - learning / 4 * log(1 + practised); `practised` counts earlier tasks on the topic.
    """

    students: tuple[str, ...]
    topics: tuple[str, ...]
    ability: Floats  # (s,) probits
    speed: Floats  # (s,) log seconds saved
    hardness: Floats  # (t, 3) probits
    effort: Floats  # (t, 3) log seconds
    learning: float  # probits
    spread: float  # standard deviation of log seconds

    def probability(self, student: Ints, topic: Ints, difficulty: Ints, practised: Ints) -> Floats:
        """True chance of a correct answer."""
        able = self.ability[student] + self.learning * np.log1p(practised)
        return np.asarray(ndtr(able - self.hardness[topic, difficulty]), np.float64)

    def median_seconds(self, student: Ints, topic: Ints, difficulty: Ints, practised: Ints) -> Floats:
        """True median of the time."""
        quicker = self.speed[student] + self.learning / 4 * np.log1p(practised)
        return np.asarray(np.exp(self.effort[topic, difficulty] - quicker), np.float64)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What n simulated tasks showed, and what was true of them before."""

    attempts: Attempts
    probability: Floats  # (n,)
    median_seconds: Floats  # (n,)


def school(students: int = 30, topics: tuple[str, ...] = TOPICS, *, learning: float = 0.25, seed: int = 0) -> School:
    """Make up students and topics; able students tend to be quick (correlation 0.3)."""
    random = np.random.default_rng(seed)
    person = random.multivariate_normal([0, 0], [[0.64, 0.084], [0.084, 0.1225]], students)
    step = np.array([-0.8, 0.0, 0.8])  # easy, medium, hard
    cells = (len(topics), len(DIFFICULTIES))
    return School(
        students=tuple(f"00000000-0000-4000-8000-{number:012d}" for number in range(1, students + 1)),
        topics=topics,
        ability=person[:, 0],
        speed=person[:, 1],
        hardness=0.3 + step + random.normal(0, 0.3, (cells[0], 1)) + random.normal(0, 0.1, cells),
        effort=np.log(45) + step / 2 + random.normal(0, 0.3, (cells[0], 1)) + random.normal(0, 0.1, cells),
        learning=learning,
        spread=0.4,
    )


def simulate(truth: School, tasks: int = 60, *, seed: int = 0) -> Simulation:
    """Let every student do `tasks` tasks of any topic and difficulty, in daily sessions."""
    random = np.random.default_rng(seed)
    shape = (len(truth.students), tasks)
    student = np.broadcast_to(np.arange(shape[0])[:, None], shape)
    topic = random.integers(0, len(truth.topics), shape)
    difficulty = random.integers(0, len(DIFFICULTIES), shape)
    practised = _practised(topic, len(truth.topics))
    p = truth.probability(student, topic, difficulty, practised)
    median = truth.median_seconds(student, topic, difficulty, practised)
    seconds = median * random.lognormal(0, truth.spread, shape)
    started = _moments(seconds, random)
    finished = started + np.rint(seconds * SECOND).astype(np.int64) + 1
    order = np.argsort(finished, axis=None, kind="stable")
    attempts = Attempts(
        truth.students,
        truth.topics,
        (),
        student.ravel()[order].astype(np.int32),
        topic.ravel()[order].astype(np.int32),
        difficulty.ravel()[order].astype(np.int32),
        np.full(student.size, -1, np.int32),
        started.ravel()[order],
        finished.ravel()[order],
        (random.random(shape) < p).ravel()[order],
        seconds.ravel()[order],
    )
    return Simulation(attempts, p.ravel()[order], median.ravel()[order])


def _practised(topic: Ints, topics: int) -> Ints:
    """Earlier tasks of the same student on the same topic, (s, n)."""
    so_far = np.cumsum(topic[..., None] == np.arange(topics), axis=1)  # (s, n, t)
    return np.take_along_axis(so_far, topic[..., None], axis=2)[..., 0] - 1


def _moments(seconds: Floats, random: np.random.Generator) -> Ints:
    """When each task was created, (s, n) microseconds: sessions at each student's own hour, short pauses between."""
    students, tasks = seconds.shape
    pause = random.lognormal(2.5, 0.6, seconds.shape)  # seconds, about 12
    busy = np.cumsum(seconds + pause, axis=1) - seconds  # the clock, were there only one session
    session = np.arange(tasks) // SESSION
    since = busy - busy[:, session * SESSION]
    hour = random.uniform(0, 8 * 3600, (students, session[-1] + 1))[:, session]
    return FIRST_DAY + session * DAY + np.rint((hour + since) * SECOND).astype(np.int64)

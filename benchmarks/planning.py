"""Does following the plan pay? Simulated students prepare for an exam in ways that take the same minutes a day.

    python -m benchmarks.planning [--students 40] [--days 14] [--minutes 20] [--seeds 4] [--world NAME] [--short]

Each world (`benchmarks/learners.py`) has its own idea of how practice helps. In each, LNIRT is fitted to other students
who practised at random, then follows the students answer by answer, as in the service; the plan is made anew every day
from what it says. All ways meet the same students, each with the random numbers of its own. What counts is the truth on
the exam day: the mean chance of a right answer to a medium task, over the exam's topics.
"""

import os

from app.core.one_thread import ONE_THREAD

os.environ.update(ONE_THREAD)

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import zip_longest
from uuid import UUID

import numpy as np

from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.domain.planning import TARGET, Exam, PracticeEffect, PractisedTask, TopicState
from app.domain.tasks import Prediction
from app.ml.evaluation.simulated import TOPICS
from app.ml.features import learning_curve
from app.ml.lnirt.ability import Predictive, Responses, columns_of, follow, newcomers, practised, predict
from app.ml.lnirt.model import FittedLnirt, fit_lnirt
from app.planning.exam_planner import OVERHEAD_SECONDS, StudySchedule, planned
from benchmarks.learners import EASY, HARD, MEDIUM, WORLDS, Floats, Task, World

FIRST = datetime(2026, 3, 2, 15, tzinfo=UTC)
TRAINED_ON = (60, 60)  # students, tasks each
LEAST_LEFT = 30.0  # seconds in which no further task is begun
Cell = tuple[int, int]  # topic, difficulty


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is prepared for."""

    exam_date: date
    minutes_per_day: int
    topics: tuple[str, ...] = TOPICS
    target: float = TARGET

    @property
    def exam(self) -> Exam:
        wanted = (self.exam_date, self.topics, self.minutes_per_day, self.target)
        return Exam(UUID(int=0), UUID(int=0), None, *wanted, {}, FIRST)

    @property
    def days(self) -> int:
        return (self.exam_date - FIRST.date()).days


@dataclass(slots=True)
class Learner:
    """A simulated student, as the service sees them: answers, and what LNIRT makes of them."""

    number: int
    state: Floats  # (1, nodes + 3) as in app/ml/lnirt/ability.py
    n: list[int]
    n_correct: list[int]
    recent: list[list[PractisedTask]]  # of each topic, newest first
    today: list[int]
    seconds: list[float]  # today

    @classmethod
    def new(cls, number: int, topics: int, model: FittedLnirt) -> "Learner":
        nothing = [0] * topics
        start = newcomers(model.bank.population)
        return cls(number, start, [*nothing], [*nothing], [[] for _ in nothing], [*nothing], [0.0] * topics)

    @property
    def spent(self) -> float:
        """Seconds of today."""
        return sum(self.seconds) + OVERHEAD_SECONDS * sum(self.today)

    def wakes(self) -> None:
        self.today, self.seconds = [0] * len(self.today), [0.0] * len(self.today)


@dataclass(frozen=True)
class Teacher:
    """What the service has learnt in a world from its other students."""

    model: FittedLnirt
    effect: PracticeEffect
    topics: tuple[str, ...]

    def states(self, learner: Learner) -> list[TopicState]:
        """Of every topic."""
        said = self.model.calibration.answers(self.expected(learner))
        cells = zip(said.probability.clip(0.01, 0.99).tolist(), said.seconds.clip(5.0, 600.0).tolist(), strict=True)
        foreseen = [Prediction(*cell, "v1.0", 1) for cell in cells]
        return [
            TopicState(
                name,
                {DIFFICULTIES[d]: foreseen[3 * k + d] for d in (EASY, MEDIUM, HARD)},
                learner.n[k],
                learner.n_correct[k],
                tuple(learner.recent[k]),
                learner.today[k],
                learner.seconds[k],
            )
            for k, name in enumerate(self.topics)
        ]

    def expected(self, learner: Learner) -> Predictive[Floats]:
        """What LNIRT says of all t topics at each difficulty, (3 t,), not calibrated."""
        columns = self._practised(learner)
        return predict(self.model.bank.population, np.repeat(learner.state, columns.shape[1], axis=0), columns)

    def follow(self, learner: Learner, task: Cell, was_right: bool, seconds: float, now: datetime) -> None:
        topic, difficulty = task
        column, times = self._practised(learner)[:, [3 * topic + difficulty]], plausible(np.array([seconds]))
        response = Responses(column, np.array([was_right]), np.log(times))
        learner.state = follow(self.model.bank.population, response, np.array([1]), learner.state)
        learner.n[topic] += 1
        learner.n_correct[topic] += was_right
        learner.recent[topic] = [PractisedTask(DIFFICULTIES[difficulty], was_right, now), *learner.recent[topic]][:10]
        learner.today[topic] += 1
        learner.seconds[topic] += seconds

    def chances(self, learner: Learner) -> Floats:
        """LNIRT's chances of all cells, (t, 3), not calibrated."""
        return self.expected(learner).probability.reshape(-1, 3)

    def _practised(self, learner: Learner) -> Floats:
        """The cells' parameters for who has practised so much, (9, 3 t)."""
        on_topic = np.repeat(np.array(learner.n, np.float64), 3)
        return practised(self.model.bank.population, self._columns, np.stack([on_topic, np.zeros(len(on_topic))]))

    @cached_property
    def _columns(self) -> Floats:
        return columns_of([self.model.bank.find(None, topic, name) for topic in self.topics for name in DIFFICULTIES])


def teacher_of(kind: type[World], seed: int) -> Teacher:
    """Fitted to others, who practised at random."""
    students, each = TRAINED_ON
    attempts = lived(kind(students, TOPICS, seed + 1_000), each, seed)
    return Teacher(fit_lnirt(attempts), learning_curve.estimated(attempts), TOPICS)


def lived(world: World, each: int, seed: int) -> Attempts:
    """Tasks of any topic and difficulty, ten a day."""
    random, students = np.random.default_rng([seed, 3]), len(world.base)
    done: list[tuple[int, int, int, float, bool, float]] = []  # student, topic, difficulty, begin, right, seconds
    for n in range(each):
        if n and n % 10 == 0:
            world.night()
        for student in range(students):
            topic, difficulty = int(random.integers(len(TOPICS))), int(random.integers(3))
            moment = FIRST.timestamp() + n // 10 * 86_400 + n % 10 * 1_800 + student / 100
            done.append((student, topic, difficulty, moment, *world.do(Task(student, topic, difficulty, 0))))
    done.sort(key=lambda row: row[3] + row[5])
    ids = np.array([row[:3] for row in done], np.int32)
    started, seconds = np.array([row[3] for row in done]), np.array([row[5] for row in done])
    return Attempts(
        world.truth.students,
        TOPICS,
        (),
        ids[:, 0],
        ids[:, 1],
        ids[:, 2],
        np.full(len(done), -1, np.int32),
        np.rint(started * 1e6).astype(np.int64),
        np.rint((started + seconds) * 1e6).astype(np.int64) + 1,
        np.array([row[4] for row in done]),
        seconds,
    )


Strategy = Callable[[Teacher, Learner, Preparation, datetime, np.random.Generator], Iterator[Cell]]


def by_plan(
    teacher: Teacher, learner: Learner, wanted: Preparation, now: datetime, random: np.random.Generator
) -> Iterator[Cell]:
    """The day's part of the plan, its topics mixed; planned anew where it was done sooner than expected."""
    while True:
        day = StudySchedule.of(wanted.exam, teacher.states(learner), now, teacher.effect).day(0)
        blocks = [
            [(wanted.topics.index(item.topic), DIFFICULTIES.index(item.difficulty))] * item.tasks for item in day.items
        ]
        cells = [cell for turn in zip_longest(*blocks) for cell in turn if cell is not None]
        if not cells:
            return
        yield from cells


def at_random(
    teacher: Teacher, learner: Learner, wanted: Preparation, now: datetime, random: np.random.Generator
) -> Iterator[Cell]:
    """Any of the exam's topics, at any difficulty."""
    while True:
        yield int(random.integers(len(wanted.topics))), int(random.integers(3))


def always_medium(
    teacher: Teacher, learner: Learner, wanted: Preparation, now: datetime, random: np.random.Generator
) -> Iterator[Cell]:
    """Any topic, medium."""
    while True:
        yield int(random.integers(len(wanted.topics))), MEDIUM


def in_blocks(
    teacher: Teacher, learner: Learner, wanted: Preparation, now: datetime, random: np.random.Generator
) -> Iterator[Cell]:
    """One topic after the other, each for its share of the days; medium."""
    day = (now.date() - FIRST.date()).days
    while True:
        yield day * len(wanted.topics) // wanted.days, MEDIUM


def hardest_first(
    teacher: Teacher, learner: Learner, wanted: Preparation, now: datetime, random: np.random.Generator
) -> Iterator[Cell]:
    """What is likeliest to go wrong."""
    yield from _by(teacher, learner, lambda p: p)


def most_uncertain(
    teacher: Teacher, learner: Learner, wanted: Preparation, now: datetime, random: np.random.Generator
) -> Iterator[Cell]:
    """What may as well go right as wrong."""
    yield from _by(teacher, learner, lambda p: np.abs(p - 0.5))


def _by(teacher: Teacher, learner: Learner, key: Callable[[Floats], Floats]) -> Iterator[Cell]:
    """The cell where it is least."""
    while True:
        yield divmod(int(np.argmin(key(teacher.chances(learner)))), 3)


STRATEGIES: dict[str, Strategy] = {
    "plan": by_plan,
    "random": at_random,
    "always medium": always_medium,
    "blocked by topic": in_blocks,
    "hardest first": hardest_first,
    "most uncertain": most_uncertain,
}


def prepared(
    kind: type[World], teacher: Teacher, way: Strategy, wanted: Preparation, students: int, seed: int
) -> Floats:
    """True chances on the exam day of students who prepared in this way, (s,)."""
    world, random = kind(students, wanted.topics, seed), np.random.default_rng([seed, 4])
    learners = [Learner.new(number, len(wanted.topics), teacher.model) for number in range(students)]
    for day in range(wanted.days):
        for learner in learners:
            learner.wakes()
            _one_day(world, teacher, learner, way, wanted, FIRST + timedelta(days=day), random)
        world.night()
    return world.exam()


def _one_day(
    world: World,
    teacher: Teacher,
    learner: Learner,
    way: Strategy,
    wanted: Preparation,
    now: datetime,
    random: np.random.Generator,
) -> None:
    for cell in way(teacher, learner, wanted, now, random):
        if learner.spent > 60 * wanted.minutes_per_day - LEAST_LEFT:
            return
        task = Task(learner.number, *cell, learner.today[cell[0]])
        teacher.follow(learner, cell, *world.do(task), now + timedelta(seconds=learner.spent))


def compared(
    kind: type[World], ways: Sequence[str], wanted: Preparation, students: int, seeds: Sequence[int]
) -> dict[str, Floats]:
    """Of each way the true chances on the exam day, student by student over all seeds."""
    found: dict[str, list[Floats]] = {way: [] for way in ways}
    for seed in seeds:
        teacher = teacher_of(kind, seed)
        for way in ways:
            found[way].append(prepared(kind, teacher, STRATEGIES[way], wanted, students, seed))
    return {way: np.concatenate(parts) for way, parts in found.items()}


def nothing_done(kind: type[World], wanted: Preparation, students: int, seeds: Sequence[int]) -> float:
    """Mean chance on the exam day of those who did not practise."""
    chances = []
    for seed in seeds:
        world = kind(students, wanted.topics, seed)
        for _ in range(wanted.days):
            world.night()
        chances.append(world.exam())
    return float(np.mean(chances))


def difference(better: Floats, than: Floats) -> tuple[float, float]:
    """Mean of the differences student by student, and its standard error."""
    off = better - than
    return float(off.mean()), float(off.std(ddof=1) / np.sqrt(len(off)))


def foreseen(kind: type[World], wanted: Preparation, seeds: Sequence[int]) -> float:
    """What the plan of the first day, made before the first answer, expects of the exam; mean over topics and seeds."""
    expected = []
    for seed in seeds:
        teacher = teacher_of(kind, seed)
        learner = Learner.new(0, len(wanted.topics), teacher.model)
        plan = planned(wanted.exam, teacher.states(learner), FIRST, teacher.effect)
        expected.append(plan.chance_at_exam)
    return float(np.mean(expected))


def row(kind: type[World], wanted: Preparation, students: int, seeds: Sequence[int]) -> str:
    """A world's line of the table."""
    found = compared(kind, list(STRATEGIES), wanted, students, seeds)
    cells = [f"{nothing_done(kind, wanted, students, seeds):.3f}"]
    for way, chances in found.items():
        off, error = difference(found["plan"], chances)
        cells.append(f"{chances.mean():.3f}" + (f" ({off:+.3f} +- {error:.3f})" if way != "plan" else ""))
    return f"| {kind.name} | {' | '.join(cells)} | {foreseen(kind, wanted, seeds):.3f} |"


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=40)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--world", help="only worlds whose name has this in it")
    parser.add_argument("--short", action="store_true", help="a few students and days, to see that it runs")
    options = parser.parse_args(given)
    if options.short:
        options.students, options.days, options.seeds = 4, 3, 1
    wanted = Preparation(FIRST.date() + timedelta(days=options.days), options.minutes)
    print(f"{options.students} students x {options.seeds} seeds, {options.days} days of {options.minutes} minutes")
    print(f"| world | no practice | {' | '.join(STRATEGIES)} | the plan expected |")
    print(f"|---|---|---|{'---|' * len(STRATEGIES)}")
    for kind in WORLDS:
        if options.world is None or options.world in kind.name:
            print(row(kind, wanted, options.students, range(options.seeds)), flush=True)
    print("In brackets: how far the plan is above it, student by student, with the standard error.")


if __name__ == "__main__":
    main()

"""Walk through finished tasks in time order, predicting and learning as the service would have, and score it.

Where a time is missing (NaN seconds), contestants learn from an imputed one: what the baseline `item + student`
would have expected, with the surprise of an earlier task. No imputed time is scored.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml import baselines, metrics
from app.ml.answers import Answers, TaskModel
from app.ml.baselines import timed, with_times
from app.ml.calibration.time_limits import USUAL, Limits, time_limits
from app.ml.calibration.time_limits import within as bounded
from app.ml.metrics import Scores
from app.ml.prior import prior_answers
from app.ml.registry import Fitted, ModelSpec, Progress, within
from app.ml.training.dataset import due_from_scratch

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

FIRST = (10, 50, 200, 1_000)
OF_STUDENT = {end: f"first {end}" for end in FIRST}  # by how many tasks the student had begun before
OF_ALL = {end: f"installation's first {end}" for end in FIRST}  # by how many all students together had
BANDS = {"next 40": (10, 50), "later": (50, None)}  # of the student's tasks
SCORE_GROUPS = ("overall", *OF_STUDENT.values(), *BANDS, *OF_ALL.values())
GROWTH = 0.5


@dataclass(frozen=True, slots=True)
class RetrainingSchedule:
    """When models are fitted anew, in completed tasks."""

    retrain_every: int = 5
    min_training: int = 10
    early: bool = True  # while there are few, already when they have doubled

    def due(self, tasks: int) -> NDArray[np.int64]:
        """After which completions a training runs."""
        due = []
        next_one = self.min_training if self.early else max(self.retrain_every, self.min_training)
        while next_one <= tasks:
            due.append(next_one)
            next_one += min(self.retrain_every, next_one) if self.early else self.retrain_every
        return np.array(due, np.int64)


@dataclass(slots=True)
class Outcome:
    """What one contestant answered, and what its trainings came to."""

    p: Floats  # (n,)
    seconds: Floats  # (n,)
    by_model: NDArray[np.bool_]  # (n,) whether a model answered; the others got the prior
    trainings: int = 0
    failures: list[str] = field(default_factory=list)  # a sentence for each training without a model
    bounds: Floats | None = None  # (4, n) 10-90 % of p, low and high, then of the seconds; NaN or none: nothing is said

    @classmethod
    def of_prior(cls, n: int) -> "Outcome":
        """What is said of n tasks before there is a model."""
        said = prior_answers(n)
        return cls(said.probability, said.seconds, np.zeros(n, np.bool_), bounds=said.bounds())

    def put(self, rows: Rows, said: Answers, by_model: NDArray[np.bool_] | bool = True) -> None:
        """A model's answers to these rows."""
        self.p[rows], self.seconds[rows], self.by_model[rows] = said.probability, said.seconds, by_model
        if self.bounds is not None:
            self.bounds[:, rows] = said.bounds()

    def clip(self, p_limits: tuple[float, float], seconds_limits: tuple[Floats, Floats]) -> None:
        """Within the limits, as the service does: bounds of times are not clipped, but hold the answer."""
        self.p, self.seconds = self.p.clip(*p_limits), self.seconds.clip(*seconds_limits)
        if self.bounds is not None:
            p, (low, high) = self.bounds[:2].clip(*p_limits), self.bounds[2:]
            self.bounds = np.stack([*p, np.minimum(low, self.seconds), np.maximum(high, self.seconds)])

    def answers(self) -> Answers:
        """The same as columns."""
        bounds = np.full((4, len(self.p)), np.nan) if self.bounds is None else self.bounds
        return Answers(self.p, self.seconds, *bounds)


class Contestant(Protocol):
    """Answers every task from what was known when it was created."""

    @property
    def name(self) -> str: ...

    def answer(self, attempts: Attempts, pace: RetrainingSchedule, progress: Progress | None) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Baseline:
    """Needs no training."""

    name: str
    means: Callable[[Attempts], tuple[Floats, Floats]]

    def answer(self, attempts: Attempts, pace: RetrainingSchedule, progress: Progress | None) -> Outcome:
        return Outcome(*self.means(attempts), np.ones(len(attempts), np.bool_))


@dataclass(frozen=True, slots=True)
class Retrained:
    """Trained again and again on the tasks completed so far, from scratch or going on as the service does; each task is
    answered by the newest model."""

    kind: ModelSpec
    growth: float | None = GROWTH  # of the tasks that makes a training from scratch due; none: every one is

    @property
    def name(self) -> str:
        return self.kind.name

    def answer(self, attempts: Attempts, pace: RetrainingSchedule, progress: Progress | None) -> Outcome:
        """A task created at or after a training's last completion is answered by that training's model."""
        outcome, trained = Outcome.of_prior(len(attempts)), _Trained(self)
        for rows, completed, steps in turns(attempts, pace, progress):
            if completed and len(rows):  # else the next training comes before anybody asks
                steps({})
                trained.again(attempts.take(slice(completed)), outcome, steps)
                if trained.model:
                    outcome.put(rows, trained.model.answers(attempts, rows))
        return outcome


def turns(
    attempts: Attempts, pace: RetrainingSchedule, progress: Progress | None
) -> Iterator[tuple[Rows, int, Progress]]:
    """For each training, and before the first: the rows that are created from then on until the next, how many tasks
    are completed by then (0 before the first), and whom its steps are told."""
    due = pace.due(len(attempts))
    newest = np.searchsorted(attempts.finished[due - 1], attempts.started, side="right")  # trainings until then
    for turn, completed in enumerate([0, *due.tolist()]):
        steps = within(progress, training=turn, trainings=len(due), tasks=completed, of=len(attempts))
        yield np.flatnonzero(newest == turn), completed, steps


class _Trained:
    """How far the trainings of one contestant have come."""

    def __init__(self, contestant: Retrained) -> None:
        self._contestant = contestant
        self._fitted: Fitted | None = None
        self._tasks = self._from_scratch = 0  # at the last training, and at the last from scratch
        self.model: TaskModel | None = None

    def again(self, completed: Attempts, outcome: Outcome, progress: Progress) -> None:
        """One training more; where none comes of it, the model before stays."""
        try:
            self._fitted = self._fit(completed, progress)
            self.model = self._fitted.served()
        except ValueError as failure:  # TrainingFailed among them
            outcome.failures.append(f"after {len(completed)} tasks: {failure}")
            return
        outcome.trainings += 1
        self._tasks = len(completed)

    def _fit(self, completed: Attempts, progress: Progress) -> Fitted:
        kind, growth, n = self._contestant.kind, self._contestant.growth, len(completed)
        learnt = self._tasks if self._fitted else None
        if kind.update and growth is not None and not due_from_scratch(n, self._from_scratch, growth, learnt):
            return kind.update(self._fitted, completed, np.arange(n) >= self._tasks, progress, None)
        fitted = kind.fit(completed, progress)
        self._from_scratch = n
        return fitted


BASELINES: tuple[Contestant, ...] = (
    Baseline("global mean", baselines.global_mean),
    Baseline("item mean", baselines.item_mean),
    Baseline("item + student", baselines.item_and_student),
    Baseline("Elo", baselines.elo),
    Baseline("additive", baselines.additive),
)


@dataclass(frozen=True, slots=True)
class ReplayScore(Scores):
    """How one contestant did on one group of tasks."""

    model: str
    group: str
    n: int


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What the service would have been worth."""

    tasks: int
    students: int
    times: int  # tasks of which the time is known
    retrain_every: int
    trainings: dict[str, int]
    failures: dict[str, list[str]]
    by_prior: dict[str, int]  # tasks answered before there was a model
    seconds: dict[str, float]  # wall time
    outside: float  # share of actual times outside the limits of what is answered
    limits: Limits  # seconds, those of the last task
    interrupted: list[str]  # contestants without figures; the first was at work
    scores: list[ReplayScore]  # by model, then group

    def add(self, name: str, outcome: Outcome, scores: Sequence[ReplayScore], seconds: float) -> None:
        """One contestant more."""
        self.trainings[name], self.failures[name], self.seconds[name] = outcome.trainings, outcome.failures, seconds
        self.by_prior[name] = int(np.count_nonzero(~outcome.by_model))
        self.scores.extend(scores)


def replay(
    attempts: Attempts,
    *,
    retrain_every: int = 5,
    min_training: int = 10,
    early: bool = True,
    p_limits: tuple[float, float] = (0.01, 0.99),
    seconds_limits: tuple[float | None, float | None] = (None, None),
    contestants: Sequence[Contestant],
    progress: Progress | None = None,
    said_by: Callable[[str, Answers], None] = lambda name, said: None,
) -> ReplayReport:
    """Predict every task at its creation with what was known then, clipped as the service does; score everybody.

    `said_by` gets each contestant's answers as soon as it has finished; Ctrl-C ends it with those there are.

    `early`: the first model comes after `min_training` tasks, and the next whenever the tasks have doubled, until that
    would be later than every `retrain_every` (no difference at the service's 5 and 10). Limits of the time that are
    None are those of the tasks finished at the last training.
    """
    pace = RetrainingSchedule(retrain_every, min_training, early)
    known = attempts.seconds[timed(attempts) == 1]
    without_gaps, groups = with_times(attempts, baselines.item_and_student(attempts)[1]), _groups(attempts)
    least, most = _limits(without_gaps, pace, seconds_limits)
    within_limits = (attempts.seconds >= least) & (attempts.seconds <= most)
    outside = float(np.mean(~within_limits[timed(attempts) == 1])) if len(known) else 0.0
    limits = (float(least[-1]), float(most[-1])) if len(attempts) else USUAL
    students = len(np.unique(attempts.student))
    report = ReplayReport(len(attempts), students, len(known), retrain_every, {}, {}, {}, {}, outside, limits, [], [])
    for done, each in enumerate(contestants):
        steps, begun = within(progress, model=each.name, done=done, models=len(contestants)), perf_counter()
        steps({})
        try:
            outcome = each.answer(without_gaps, pace, steps)
            outcome.clip(p_limits, (least, most))
            scores = [_score(each.name, group, attempts, outcome, rows) for group, rows in groups.items()]
            said_by(each.name, outcome.answers())
        except KeyboardInterrupt:
            report.interrupted.extend(left.name for left in contestants[done:])
            break
        report.add(each.name, outcome, scores, perf_counter() - begun)
    return report


def _limits(
    attempts: Attempts, pace: RetrainingSchedule, given: tuple[float | None, float | None]
) -> tuple[Floats, Floats]:
    """The least and the most seconds that may be answered to each task, (n,) each; they move when tasks grow by 2 %."""
    due = pace.due(len(attempts))
    steps = np.unique(np.searchsorted(due, np.unique(np.geomspace(1, max(len(attempts), 1), 600).astype(np.int64))))
    due = due[steps[steps < len(due)]]
    found = np.array([bounded(USUAL, *given), *(bounded(time_limits(attempts.seconds[:done]), *given) for done in due)])
    newest = np.searchsorted(attempts.finished[due - 1], attempts.started, side="right")
    return found[newest, 0], found[newest, 1]


def _groups(attempts: Attempts) -> dict[str, Rows]:
    """Rows by how many tasks had been created before them: by their student, and by all."""
    of_all, of_student = _place(attempts, np.zeros_like(attempts.student)), _place(attempts, attempts.student)
    groups = {name: np.flatnonzero(of_student < end) for end, name in OF_STUDENT.items()}
    groups |= {name: np.flatnonzero(of_all < end) for end, name in OF_ALL.items()}
    for name, (begin, end) in BANDS.items():
        groups[name] = np.flatnonzero((of_student >= begin) & (of_student < (end or np.inf)))
    groups["overall"] = np.arange(len(attempts))
    return {name: groups[name] for name in SCORE_GROUPS}


def _place(attempts: Attempts, group: NDArray[np.int32]) -> NDArray[np.intp]:
    """How many of its group were created before each, (n,)."""
    order = np.lexsort((attempts.started, group))
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order)) - np.searchsorted(group[order], group[order])
    return place


def _score(model: str, group: str, attempts: Attempts, outcome: Outcome, rows: Rows) -> ReplayScore:
    bounds = () if outcome.bounds is None else outcome.bounds[2:, rows]
    said = (outcome.p[rows], attempts.seconds[rows], outcome.seconds[rows], *bounds)
    scores = metrics.summary(attempts.correct[rows], *said)
    return ReplayScore(**asdict(scores), model=model, group=group, n=len(rows))

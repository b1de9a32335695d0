"""Walk through finished tasks in time order, predicting and learning as the service would have, and score it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import isnan
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.domain.kinds import TRAINED
from app.ml import baselines, metrics
from app.ml.answers import TaskModel
from app.ml.features import UNKNOWN_RATE, UNKNOWN_SECONDS
from app.ml.material import due_from_scratch
from app.ml.registry import BY_NAME, Fitted, ModelSpec, Progress
from app.ml.time_limits import USUAL, Limits, time_limits, within

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

GROUPS = ("overall", "first 10", "next 40", "later")  # by how many tasks the student had begun before
GROUP_ENDS = (10, 50)
GROWTH = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
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


class Contestant(Protocol):
    """Answers every task from what was known when it was created."""

    @property
    def name(self) -> str: ...

    def answer(self, attempts: Attempts, pace: Pace, progress: Progress | None) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Baseline:
    """Needs no training."""

    name: str
    means: Callable[[Attempts], tuple[Floats, Floats]]

    def answer(self, attempts: Attempts, pace: Pace, progress: Progress | None) -> Outcome:
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

    def answer(self, attempts: Attempts, pace: Pace, progress: Progress | None) -> Outcome:
        """A task created at or after a training's last completion is answered by that training's model."""
        n = len(attempts)
        outcome = Outcome(np.full(n, UNKNOWN_RATE), np.full(n, UNKNOWN_SECONDS), np.zeros(n, np.bool_))
        due = pace.due(n)
        newest = np.searchsorted(attempts.finished[due - 1], attempts.started, side="right")  # trainings until then
        trained = Trained(self)
        for turn, completed in enumerate(due, start=1):
            rows = np.flatnonzero(newest == turn)
            if len(rows) == 0:
                continue  # the next training comes before anybody asks
            trained.again(attempts.take(slice(completed)), outcome)
            if trained.model:
                said = trained.model.answers(attempts, rows)
                outcome.p[rows], outcome.seconds[rows] = said.probability, said.seconds
                outcome.by_model[rows] = True
            if progress:
                progress({"step": "replay", "model": self.name, "done": int(completed), "of": n})
        return outcome


class Trained:
    """How far the trainings of one contestant have come."""

    def __init__(self, contestant: Retrained) -> None:
        self._contestant = contestant
        self._fitted: Fitted | None = None
        self._tasks = self._from_scratch = 0  # at the last training, and at the last from scratch
        self.model: TaskModel | None = None

    def again(self, completed: Attempts, outcome: Outcome) -> None:
        """One training more; where none comes of it, the model before stays."""
        try:
            self._fitted = self._fit(completed)
            self.model = self._fitted.served()
        except ValueError as failure:  # TrainingFailed among them
            outcome.failures.append(f"after {len(completed)} tasks: {failure}")
            return
        outcome.trainings += 1
        self._tasks = len(completed)

    def _fit(self, completed: Attempts) -> Fitted:
        kind, growth, n = self._contestant.kind, self._contestant.growth, len(completed)
        learnt = self._tasks if self._fitted else None
        if kind.update and growth is not None and not due_from_scratch(n, self._from_scratch, growth, learnt):
            return kind.update(self._fitted, completed, np.arange(n) >= self._tasks, _silent, None)
        fitted = kind.fit(completed, _silent)
        self._from_scratch = n
        return fitted


def _silent(_: dict[str, Any]) -> None:
    """Nobody listens."""


BASELINES: tuple[Contestant, ...] = (
    Baseline("global mean", baselines.global_mean),
    Baseline("item mean", baselines.item_mean),
    Baseline("item + student", baselines.item_and_student),
)


def contestants(*, lstm: bool = False, growth: float | None = GROWTH) -> tuple[Contestant, ...]:
    """The kinds that are trained, and the baselines; the many trainings of the LSTM take long."""
    trained = (BY_NAME[name] for name in TRAINED if lstm or name != "embedding_lstm")
    return (*(Retrained(each, growth) for each in trained), *BASELINES)


@dataclass(frozen=True, slots=True)
class Score:
    """How one contestant did on one group of tasks; nan where it is not defined."""

    model: str
    group: str
    n: int
    auc: float
    log_loss: float
    brier: float
    calibration_error: float
    rmse_log_time: float
    mae_seconds: float


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What the service would have been worth."""

    tasks: int
    students: int
    retrain_every: int
    trainings: dict[str, int]
    failures: dict[str, list[str]]
    by_prior: dict[str, int]  # tasks answered before there was a model
    seconds: dict[str, float]  # wall time
    outside: float  # share of actual times outside the limits of what is answered
    limits: Limits  # seconds, those of the last task
    scores: tuple[Score, ...]  # by model, then group

    def as_dict(self) -> dict[str, Any]:
        """For JSON: nan becomes None."""

        def plain(score: Score) -> dict[str, Any]:
            return {k: None if isinstance(v, float) and isnan(v) else v for k, v in asdict(score).items()}

        return asdict(self) | {"scores": [plain(score) for score in self.scores]}


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
) -> ReplayReport:
    """Predict every task at its creation with what was known then, clipped as the service does; score everybody.

    `early`: the first model comes after `min_training` tasks, and the next whenever the tasks have doubled, until that
    would be later than every `retrain_every` (no difference at the service's 5 and 10). Limits of the time that are
    None are those of the tasks finished at the last training.
    """
    pace = Pace(retrain_every, min_training, early)
    least, most = _limits(attempts, pace, seconds_limits)
    outcomes: dict[str, Outcome] = {}
    took: dict[str, float] = {}
    for contestant in contestants:
        begun = perf_counter()
        outcome = contestant.answer(attempts, pace, progress)
        outcome.p, outcome.seconds = outcome.p.clip(*p_limits), outcome.seconds.clip(least, most)
        outcomes[contestant.name] = outcome
        took[contestant.name] = perf_counter() - begun
    groups = _groups(attempts)
    return ReplayReport(
        tasks=len(attempts),
        students=len(np.unique(attempts.student)),
        retrain_every=retrain_every,
        trainings={name: outcome.trainings for name, outcome in outcomes.items()},
        failures={name: outcome.failures for name, outcome in outcomes.items()},
        by_prior={name: int(np.count_nonzero(~outcome.by_model)) for name, outcome in outcomes.items()},
        seconds=took,
        outside=float(np.mean(attempts.seconds != attempts.seconds.clip(least, most))) if len(attempts) else 0.0,
        limits=(float(least[-1]), float(most[-1])) if len(attempts) else USUAL,
        scores=tuple(
            _score(name, group, attempts, outcome, rows)
            for name, outcome in outcomes.items()
            for group, rows in groups.items()
        ),
    )


def _limits(attempts: Attempts, pace: Pace, given: tuple[float | None, float | None]) -> tuple[Floats, Floats]:
    """The least and the most seconds that may be answered to each task, (n,) each; they move when tasks grow by 2 %."""
    due = pace.due(len(attempts))
    steps = np.unique(np.searchsorted(due, np.unique(np.geomspace(1, max(len(attempts), 1), 600).astype(np.int64))))
    due = due[steps[steps < len(due)]]
    found = np.array([within(USUAL, *given), *(within(time_limits(attempts.seconds[:done]), *given) for done in due)])
    newest = np.searchsorted(attempts.finished[due - 1], attempts.started, side="right")
    return found[newest, 0], found[newest, 1]


def _groups(attempts: Attempts) -> dict[str, Rows]:
    """Rows by how many tasks their student had created before them."""
    order = np.lexsort((attempts.started, attempts.student))
    sorted_students = attempts.student[order]
    nth = np.empty(len(order), np.int64)
    nth[order] = np.arange(len(order)) - np.searchsorted(sorted_students, sorted_students)
    part = np.searchsorted(GROUP_ENDS, nth, side="right")
    return {GROUPS[0]: np.arange(len(order))} | {
        name: np.flatnonzero(part == place) for place, name in enumerate(GROUPS[1:])
    }


def _score(model: str, group: str, attempts: Attempts, outcome: Outcome, rows: Rows) -> Score:
    if len(rows) == 0:
        return Score(model, group, 0, *[float("nan")] * 6)
    correct, seconds = attempts.correct[rows], attempts.seconds[rows]
    p, predicted = outcome.p[rows], outcome.seconds[rows]
    return Score(
        model,
        group,
        len(rows),
        metrics.auc(correct, p),
        metrics.log_loss(correct, p),
        metrics.brier(correct, p),
        metrics.calibration_error(correct, p),
        metrics.rmse_log_time(seconds, predicted),
        metrics.mae_seconds(seconds, predicted),
    )

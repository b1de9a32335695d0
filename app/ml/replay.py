"""Walk through finished tasks in time order, predicting and learning as the service would have, and score it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import isnan
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts
from app.ml import baselines, metrics
from app.ml.answers import TaskModel
from app.ml.features import UNKNOWN_RATE, UNKNOWN_SECONDS
from app.ml.kinds import KINDS, Fitted, Progress

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

GROUPS = ("overall", "first 10", "next 40", "later")  # by how many tasks the student had begun before
GROUP_ENDS = (10, 50)


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
    """Fitted again and again on all tasks completed so far; each task is answered by the newest model."""

    name: str
    fit: Callable[[Attempts, Progress], Fitted]

    def answer(self, attempts: Attempts, pace: Pace, progress: Progress | None) -> Outcome:
        """A task created at or after a training's last completion is answered by that training's model."""
        n = len(attempts)
        outcome = Outcome(np.full(n, UNKNOWN_RATE), np.full(n, UNKNOWN_SECONDS), np.zeros(n, np.bool_))
        due = pace.due(n)
        newest = np.searchsorted(attempts.finished[due - 1], attempts.started, side="right")  # trainings until then
        model: TaskModel | None = None
        for turn, completed in enumerate(due, start=1):
            rows = np.flatnonzero(newest == turn)
            if len(rows) == 0:
                continue  # the next training comes before anybody asks
            model = self._train(attempts.take(slice(completed)), outcome) or model
            if model:
                said = model.answers(attempts, rows)
                outcome.p[rows], outcome.seconds[rows] = said.probability, said.seconds
                outcome.by_model[rows] = True
            if progress:
                progress({"step": "replay", "model": self.name, "done": int(completed), "of": n})
        return outcome

    def _train(self, completed: Attempts, outcome: Outcome) -> TaskModel | None:
        try:
            model = self.fit(completed, _silent).serving()
        except ValueError as failure:  # TrainingFailed among them
            outcome.failures.append(f"after {len(completed)} tasks: {failure}")
            return None
        outcome.trainings += 1
        return model


def _silent(_: dict[str, Any]) -> None:
    """Nobody listens."""


CONTESTANTS: tuple[Contestant, ...] = (
    *(Retrained(kind.name, kind.fit) for kind in KINDS),
    Baseline("global mean", baselines.global_mean),
    Baseline("item mean", baselines.item_mean),
    Baseline("item + student", baselines.item_and_student),
)

USUAL = tuple(each for each in CONTESTANTS if each.name != "embedding_lstm")  # its many trainings take half an hour


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
    seconds_limits: tuple[float, float] = (5.0, 600.0),
    contestants: Sequence[Contestant] = USUAL,
    progress: Progress | None = None,
) -> ReplayReport:
    """Predict every task at its creation with what was known then, clipped as the service does; score everybody.

    `early`: the first model comes after `min_training` tasks, and the next whenever the tasks have doubled, until that
    would be later than every `retrain_every` (no difference at the service's 5 and 10).
    """
    pace = Pace(retrain_every, min_training, early)
    outcomes: dict[str, Outcome] = {}
    took: dict[str, float] = {}
    for contestant in contestants:
        begun = perf_counter()
        outcome = contestant.answer(attempts, pace, progress)
        outcome.p, outcome.seconds = outcome.p.clip(*p_limits), outcome.seconds.clip(*seconds_limits)
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
        outside=float(np.mean(attempts.seconds != attempts.seconds.clip(*seconds_limits))) if len(attempts) else 0.0,
        scores=tuple(
            _score(name, group, attempts, outcome, rows)
            for name, outcome in outcomes.items()
            for group, rows in groups.items()
        ),
    )


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

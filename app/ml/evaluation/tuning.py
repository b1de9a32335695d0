"""What tuning tries and how it judges: a space of settings, the tasks by what they are for, losses. No Optuna here.

A fifth of the students is hidden: no trial learns from them or is judged by them. Of the others a fifth is unseen: no
trial learns from them, all are judged by them. From the tasks of the rest a trial learns, except the newest, which
judge too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import Attempts, plausible
from app.ml import metrics, registry
from app.ml.answers import TaskModel
from app.ml.engine.local import Engine, at_work, current
from app.ml.evaluation.benchmark import TEST_SHARE, drawn
from app.ml.registry import Progress, within
from app.ml.training.tuned_settings import checked, default

if TYPE_CHECKING:
    from app.ml.networks.network import Network

Floats = NDArray[np.float64]

NEWEST = 0.15  # share of the seen students' tasks that judge
TIME_WEIGHT = 0.5  # of the squared error of the log time, beside the log-loss
ROUNDS = 2  # trainings of the defaults and of the best settings whose mean decides, each from another seed
LEAST_STUDENTS = 5  # hidden ones: with fewer their standard error says nothing
DROPOUT_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Range:
    """What a parameter may be: in steps, whole numbers where these are; or its logarithm searched evenly."""

    least: float
    most: float
    step: float | None = None


def space(network: "Network") -> dict[str, Range]:
    """What may be tried, by parameter, around this network's values: a parameter is a field, or a place in it."""
    found: dict[str, Range] = {}
    for place, units in enumerate(default(network, "units"), start=1):
        step = max(1, units // 4)
        found[f"units_{place}"] = Range(step, 2 * units, step)
    for place, _ in enumerate(default(network, "dropouts"), start=1):
        found[f"dropout_{place}"] = Range(0.0, 0.6, DROPOUT_STEP)
    schedule = network.schedule
    found["vector"] = Range(network.vector / 4, network.vector * 2)
    found["rate"] = Range(schedule.rate / 10, schedule.rate * 4)
    found["decay"] = Range(schedule.decay / 10, schedule.decay * 10)
    found["epochs"] = Range(schedule.epochs[0], 2 * schedule.epochs[1], 1)
    found["student_dropout"] = Range(0.0, 1.0, DROPOUT_STEP)
    return found


def defaults(network: "Network") -> dict[str, float]:
    """The parameters of a network that is not tuned."""
    units, dropouts = default(network, "units"), default(network, "dropouts")
    return {
        **{f"units_{place}": each for place, each in enumerate(units, start=1)},
        **{f"dropout_{place}": each for place, each in enumerate(dropouts, start=1)},
        "vector": network.vector,
        "rate": network.schedule.rate,
        "decay": network.schedule.decay,
        "epochs": network.schedule.epochs[1],
        "student_dropout": network.schedule.id_dropout[0],
    }


def settings_of(network: "Network", parameters: Mapping[str, float]) -> dict[str, Any]:
    """Parameters as the network's settings (app.ml.training.tuned_settings)."""
    usual = network.schedule
    settings = {
        "units": _places(parameters, "units"),
        "dropouts": tuple(round(each, 2) for each in _places(parameters, "dropout")),
        **{name: parameters[name] for name in ("vector", "rate", "decay")},
        "epochs": (usual.epochs[0], parameters["epochs"]),
        "id_dropout": (round(parameters["student_dropout"], 2), *usual.id_dropout[1:]),
    }
    return checked(network.name, settings)


def _places(parameters: Mapping[str, float], name: str) -> tuple[float, ...]:
    n = sum(each.startswith(f"{name}_") for each in parameters)
    return tuple(parameters[f"{name}_{place}"] for place in range(1, n + 1))


@dataclass(frozen=True, slots=True)
class Parts:
    """Finished tasks by what they are for, each part in the order of completion."""

    seen: Attempts  # a trial learns from the first of them
    learnt: int  # of the seen: so many
    unseen: Attempts
    hidden: Attempts
    shown: Attempts  # all but the hidden


def parted(attempts: Attempts) -> Parts:
    """Each student is always on the same side, by their id. Raises ValueError where a side would be empty."""
    draw = drawn(attempts.students)[attempts.student] if len(attempts) else np.zeros(0)
    hidden = draw < TEST_SHARE
    unseen = ~hidden & (draw < TEST_SHARE + TEST_SHARE * (1 - TEST_SHARE))
    seen = attempts.take(~hidden & ~unseen)
    learnt = len(seen) - round(len(seen) * NEWEST)
    parts = Parts(seen, learnt, attempts.take(unseen), attempts.take(hidden), attempts.take(~hidden))
    if not learnt or learnt == len(seen) or not len(parts.unseen) or not len(parts.hidden):
        raise ValueError(f"{len(attempts):,} tasks are too few to tune on: some students learn, others judge.")
    return parts


@dataclass(frozen=True, slots=True)
class Losses:
    """Of n tasks, (n,) each: negative log-likelihood in nats, squared error of the log time."""

    correctness: Floats
    time: Floats

    def each(self) -> Floats:
        """Both, weighted, (n,)."""
        return np.asarray(self.correctness + TIME_WEIGHT * self.time)


def losses(model: TaskModel, attempts: Attempts, first: int = 0) -> Losses:
    """How the model answers the tasks from the `first` on, each from what its student had finished before it."""
    said = model.answers(attempts, np.arange(first, len(attempts)))
    correct, seconds = attempts.correct[first:], plausible(attempts.seconds[first:])
    with np.errstate(divide="ignore", invalid="ignore"):
        return Losses(metrics.losses(correct, said.probability), np.square(np.log(said.seconds) - np.log(seconds)))


@dataclass(frozen=True, slots=True)
class TrialScore:
    """Mean losses of a trial."""

    unseen: float  # on students that it never saw
    newest: float  # on the newest tasks of those it learnt from

    @property
    def value(self) -> float:
        return (self.unseen + self.newest) / 2


def tried_piece(piece: tuple[int, Mapping[str, Any]], kind: str, parts: Parts, seed: int) -> TrialScore:
    """Try the settings of the trial of this number."""
    number, settings = piece
    return tried(kind, settings, parts, seed, within(current().say, trial=number))


def tried(kind: str, settings: Mapping[str, Any] | None, parts: Parts, seed: int, progress: Progress) -> TrialScore:
    """Train on the seen students' older tasks and judge. Raises TrainingFailed where no model comes out."""
    model = _trained(kind, settings, parts.seen.take(slice(parts.learnt)), seed, progress)
    unseen = losses(model, parts.unseen).each()
    return TrialScore(float(unseen.mean()), float(losses(model, parts.seen, parts.learnt).each().mean()))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The defaults and the best settings on the hidden students: mean losses of some trainings of each."""

    trial: int
    tasks: int
    students: int
    default: float
    best: float
    default_log_loss: float
    best_log_loss: float
    default_rmse_log_time: float
    best_rmse_log_time: float
    error: float  # standard error of the difference, by students

    @property
    def gain(self) -> float:
        return self.default - self.best

    @property
    def is_better(self) -> bool:
        """Whether the best settings beat the defaults by more than the standard error."""
        return self.students >= LEAST_STUDENTS and self.gain > self.error


def compared(kind: str, settings: Mapping[str, Any], trial: int, parts: Parts, seed: int, engine: Engine) -> Verdict:
    """Train the defaults and these settings on all students that are not hidden, and judge both on the hidden ones."""
    with at_work(engine):
        usual, best = engine.map(_piece_on_hidden, (None, settings), kind, parts, seed)
    gains = usual.each() - best.each()
    return Verdict(
        trial,
        len(gains),
        len(np.unique(parts.hidden.student)),
        float(usual.each().mean()),
        float(best.each().mean()),
        float(usual.correctness.mean()),
        float(best.correctness.mean()),
        float(np.sqrt(usual.time.mean())),
        float(np.sqrt(best.time.mean())),
        clustered_error(gains, parts.hidden.student),
    )


def clustered_error(values: Floats, student: NDArray[np.int32]) -> float:
    """Standard error of the mean of n values where a student's values, (n,), belong together; infinite for one."""
    _, place = np.unique(student, return_inverse=True)
    sums = np.bincount(place, values - values.mean())
    k = len(sums)
    return float("inf") if k < 2 else float(np.sqrt(np.square(sums).sum() * k / (k - 1)) / len(values))


def _piece_on_hidden(settings: Mapping[str, Any] | None, kind: str, parts: Parts, seed: int) -> Losses:
    return _on_hidden(kind, settings, parts, seed, current().say)


def _on_hidden(kind: str, settings: Mapping[str, Any] | None, parts: Parts, seed: int, progress: Progress) -> Losses:
    """Mean losses, task by task, of trainings from seeds that no trial had."""
    seeds = range(seed + 1, seed + 1 + ROUNDS)
    rounds = [losses(_trained(kind, settings, parts.shown, each, progress), parts.hidden) for each in seeds]
    of = {name: np.mean([getattr(each, name) for each in rounds], axis=0) for name in ("correctness", "time")}
    return Losses(of["correctness"], of["time"])


def _trained(
    kind: str, settings: Mapping[str, Any] | None, attempts: Attempts, seed: int, progress: Progress
) -> TaskModel:
    from app.ml.networks.fit import fit

    return fit(registry.network(kind, settings), attempts, seed=seed, progress=progress).served()

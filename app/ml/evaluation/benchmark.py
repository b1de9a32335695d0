"""Train on some students, test on others: every model of the service beside simple ones and its peers.

An unseen student's history counts as it comes: each task is answered from what its student had finished when it was
created, by a model that never saw the student. Nothing is clipped. Where a time is missing (NaN seconds), models learn
from an imputed one: what the training's item mean and the student's own speed let expect, with the surprise of an
earlier task. No imputed time is scored.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.ml import metrics, registry
from app.ml.answers import Answers
from app.ml.baselines import PRIOR_TASKS, moved_by_student, timed, with_times
from app.ml.engine.local import Engine, LocalEngine, at_work, current
from app.ml.evaluation import sklearn_models
from app.ml.evaluation.sklearn_models import GradientBoosting, LogisticRegression, answers_with_interval
from app.ml.features.history import UNKNOWN_SECONDS
from app.ml.metrics import Scores
from app.ml.prior import prior_answers
from app.ml.registry import MODELS, Fitted, ModelSpec, Progress, within

Floats = NDArray[np.float64]

TEST_SHARE = 0.2  # of the students, where no test file is given
GROUPS_SO_FAR = (("eleven",), ("eleven", "context"), ("eleven", "context", "item"))


@dataclass(frozen=True, slots=True)
class BenchmarkScore(Scores):
    """How one model did on the tasks of the unseen students."""

    model: str
    n: int
    train_seconds: float


@dataclass(slots=True)
class BenchmarkResult:
    """What came of the models."""

    scores: list[BenchmarkScore] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)  # why a model could not be trained
    interrupted: list[str] = field(default_factory=list)  # models without figures; the first was at work


@dataclass(frozen=True, slots=True)
class FittedContestant:
    """A name and the way to its answers: trained on the first attempts, asked of the second."""

    name: str
    answer: Callable[[Attempts, Attempts, Progress], tuple[Answers, float]]  # and the seconds of the training


def split_by_student(attempts: Attempts) -> tuple[Attempts, Attempts]:
    """Four fifths of the students to train on, the others to test on; each always on the same side, by their id.

    Raises ValueError if one side would be empty.
    """
    part = drawn(attempts.students)
    tested = (part < TEST_SHARE)[attempts.student] if len(attempts) else np.zeros(0, np.bool_)
    if tested.all() or not tested.any():
        raise ValueError("There are too few students to train on some and judge on others; give a second file: --test.")
    return attempts.take(~tested), attempts.take(tested)


def drawn(students: Sequence[str]) -> Floats:
    """A number from 0 to 1 for each student, (n,): always the same, as if by chance."""
    return np.array([int.from_bytes(sha256(name.encode()).digest()[:8], "big") / 2**64 for name in students])


def evaluate(
    train: Attempts,
    test: Attempts,
    contestants: Sequence[FittedContestant],
    progress: Progress | None = None,
    said_by: Callable[[str, Answers], None] = lambda name, said: None,
    engine: Engine | None = None,
) -> BenchmarkResult:
    """Scores by model, one after another or, by an engine that can, side by side. `said_by` gets each model's answers
    as soon as it and those before it have finished; Ctrl-C ends it with those there are.

    Raises ValueError where there is nothing to train on or to test on.
    """
    if not len(train) or not len(test):
        raise ValueError("There are no tasks to train on." if not len(train) else "There are no tasks to judge on.")
    found = BenchmarkResult()
    without_gaps = [with_times(each, _expected_times(train, each)) for each in (train, test)]
    engine = engine or LocalEngine(progress or (lambda step: None))
    facts = [{"model": each.name, "done": done, "models": len(contestants)} for done, each in enumerate(contestants)]
    results = engine.map(_answers, zip(contestants, facts, strict=True), *without_gaps)
    for done, each in enumerate(contestants):
        try:
            with at_work(engine):
                result = next(results)
            if isinstance(result, ValueError):
                raise result
            said, seconds = result
            columns = (said.probability, test.seconds, said.seconds, said.seconds_low, said.seconds_high)
            scores = asdict(metrics.summary(test.correct, *columns))
            scored = BenchmarkScore(**scores, model=each.name, n=len(test), train_seconds=round(seconds, 3))
            said_by(each.name, said)
        except ValueError as why:
            found.failures[each.name] = str(why)
        except KeyboardInterrupt:
            found.interrupted = [left.name for left in contestants[done:]]
            break
        else:
            found.scores.append(scored)
    return found


def _answers(
    piece: tuple[FittedContestant, dict[str, Any]], train: Attempts, test: Attempts
) -> tuple[Answers, float] | ValueError:
    """One model's answers and the seconds of its training; or why there are none."""
    contestant, facts = piece
    steps = within(current().say, **facts)
    steps({})
    try:
        return contestant.answer(train, test, steps)
    except ValueError as why:
        return why


def contestants(ablation: bool = False) -> list[FittedContestant]:
    """All there are; with `ablation` V2 and gradient boosting also with fewer groups of inputs."""
    made = [FittedContestant("prior", _timed(lambda _, test: prior_answers(len(test))))]
    for name, (items, students) in BASELINES.items():
        made.append(FittedContestant(name, _timed(partial(_items_and_students, items=items, students=students))))
    made += [FittedContestant(kind.name, partial(_kind, kind)) for kind in reversed(MODELS)]
    if sklearn_models.are_installed():
        made.append(FittedContestant("gradient boosting", _timed(_boosting)))
        made.append(FittedContestant("logistic regression", _timed(lambda a, b: LogisticRegression(a).answers(b))))
    return made + list(_fewer_inputs() if ablation else ())


def _fewer_inputs() -> Iterator[FittedContestant]:
    for groups in GROUPS_SO_FAR[:-1]:
        name = " + ".join(groups)
        yield FittedContestant(f"embedding_v2 ({name})", partial(_v2, groups))
        if sklearn_models.are_installed():
            yield FittedContestant(f"gradient boosting ({name})", _timed(partial(_boosting, groups=groups)))


def as_dict(found: BenchmarkResult, train: Attempts, test: Attempts) -> dict[str, Any]:
    """For JSON."""
    return {
        "train_tasks": len(train),
        "train_students": len(np.unique(train.student)),
        "test_tasks": len(test),
        "test_students": len(np.unique(test.student)),
        "test_times": int(timed(test).sum()),
        "models": [asdict(each) for each in found.scores],
        "failures": found.failures,
        "interrupted": found.interrupted,
    }


def _timed(answer: Callable[[Attempts, Attempts], Answers]) -> Callable[..., tuple[Answers, float]]:
    """For what trains and answers in one go."""

    def timed(train: Attempts, test: Attempts, _: Progress) -> tuple[Answers, float]:
        begun = perf_counter()
        said = answer(train, test)
        return said, perf_counter() - begun

    return timed


def _kind(kind: ModelSpec, train: Attempts, test: Attempts, progress: Progress) -> tuple[Answers, float]:
    return _learnt(lambda: kind.fit(train, progress), test)


def _learnt(fit: Callable[[], Fitted], test: Attempts) -> tuple[Answers, float]:
    begun = perf_counter()
    model = fit().served()
    took = perf_counter() - begun
    return model.answers(test, np.arange(len(test))), took


def _v2(groups: Sequence[str], train: Attempts, test: Attempts, progress: Progress) -> tuple[Answers, float]:
    from app.ml.networks.fit import fit

    network = replace(registry.network("embedding_v2"), groups=tuple(groups))
    return _learnt(lambda: fit(network, train, progress=progress), test)


def _boosting(train: Attempts, test: Attempts, groups: Sequence[str] = GROUPS_SO_FAR[-1]) -> Answers:
    return GradientBoosting(train, groups).answers(test)


BASELINES = {  # whether the item counts, and whether the student does
    "global mean": (False, False),
    "item mean": (True, False),
    "item + student": (True, True),
}


def _items_and_students(train: Attempts, test: Attempts, *, items: bool, students: bool) -> Answers:
    """The training's share correct and typical time; of the item; moved by how the student did before."""
    p, log_time = _item_means(train, test, items)
    own_p, own_log_time = _item_means(train, train, items)
    if students:
        p, log_time = moved_by_student(test, p, log_time)
        own_p, own_log_time = moved_by_student(train, own_p, own_log_time)
    low, high = np.quantile(np.log(plausible(train.seconds)) - own_log_time, [0.1, 0.9])
    return answers_with_interval(p, np.exp(log_time), float(low), float(high))


def _expected_times(train: Attempts, asked: Attempts) -> Floats:
    """Seconds, (n,): the item's in the training, moved by the times of the student."""
    return np.exp(moved_by_student(asked, *_item_means(train, asked, items=True))[1])


def _item_means(train: Attempts, asked: Attempts, items: bool) -> tuple[Floats, Floats]:
    """Probabilities and log times of the asked tasks' items in the training; pulled to the mean of all."""
    log_times, known_times = np.log(plausible(train.seconds)), timed(train) == 1
    share = (train.correct.sum() + 1) / (len(train) + 2)
    log_time = float(log_times[known_times].mean() if known_times.any() else np.log(UNKNOWN_SECONDS))
    if not items:
        return np.full(len(asked), share), np.full(len(asked), log_time)
    names, places = np.unique(_labels(train), return_inverse=True)

    def means(rows: NDArray[np.bool_], values: Floats, mean: float) -> Floats:
        sums, n = (np.bincount(places[rows], weights, len(names)) for weights in (values[rows], None))
        return (sums + PRIOR_TASKS * mean) / (n + PRIOR_TASKS)

    shares = means(np.ones(len(train), np.bool_), train.correct.astype(np.float64), share)
    times = means(known_times, log_times, log_time)
    wanted = _labels(asked)
    place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    known = names[place] == wanted
    return np.where(known, shares[place], share), np.where(known, times[place], log_time)


def _labels(attempts: Attempts) -> NDArray[np.str_]:
    """Of each row, the item's name, or that of its topic and difficulty."""
    cells = [f"c{topic}\x1f{difficulty}" for topic in attempts.topics for difficulty in DIFFICULTIES]
    names = np.array([*(f"i{name}" for name in attempts.items), *cells])
    cell = attempts.topic.astype(np.int64) * len(DIFFICULTIES) + attempts.difficulty
    return np.asarray(names[np.where(attempts.item >= 0, attempts.item, len(attempts.items) + cell)])

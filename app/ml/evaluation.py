"""Train on some students, judge on others: every model of the service beside simple ones and its peers.

An unseen student's history counts as it comes: each task is answered from what its student had finished when it was
created, by a model that never saw the student. Nothing is clipped.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from math import isnan
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.attempts import DIFFICULTIES, Attempts, plausible
from app.ml import metrics, peers, registry
from app.ml.answers import Answers
from app.ml.baselines import PRIOR_TASKS, moved_by_student
from app.ml.peers import GradientBoosting, LogisticRegression, answers_with_interval
from app.ml.prior import prior_answers
from app.ml.registry import MODELS, ModelSpec, Progress

Floats = NDArray[np.float64]

TEST_SHARE = 0.2  # of the students, where no test file is given
GROUPS_SO_FAR = (("eleven",), ("eleven", "context"), ("eleven", "context", "item"))


@dataclass(frozen=True, slots=True)
class Score:
    """How one model did on the tasks of the unseen students; None where it is not defined."""

    model: str
    n: int
    auc: float | None
    log_loss: float
    brier: float
    calibration_error: float
    rmse_log_time: float
    mae_seconds: float
    time_interval_coverage: float
    train_seconds: float


@dataclass(frozen=True, slots=True)
class Contestant:
    """A name and the way to its answers: trained on the first attempts, asked of the second."""

    name: str
    answer: Callable[[Attempts, Attempts, Progress], tuple[Answers, float]]  # and the seconds of the training


def split_by_student(attempts: Attempts) -> tuple[Attempts, Attempts]:
    """Four fifths of the students to train on, the others to judge; each always on the same side, by their id.

    Raises ValueError if one side would be empty.
    """
    part = drawn(attempts.students)
    judge = (part < TEST_SHARE)[attempts.student] if len(attempts) else np.zeros(0, np.bool_)
    if judge.all() or not judge.any():
        raise ValueError("There are too few students to train on some and judge on others; give a second file: --test.")
    return attempts.take(~judge), attempts.take(judge)


def drawn(students: Sequence[str]) -> Floats:
    """A number from 0 to 1 for each student, (n,): always the same, as if by chance."""
    return np.array([int.from_bytes(sha256(name.encode()).digest()[:8], "big") / 2**64 for name in students])


def evaluate(
    train: Attempts,
    test: Attempts,
    contestants: Sequence[Contestant],
    progress: Callable[[str, int], None] = lambda name, done: None,
) -> tuple[list[Score], dict[str, str]]:
    """Scores by model, and of each model that could not be trained, why; `progress` gets a name and how many are done.

    Raises ValueError where there is nothing to train on or to judge.
    """
    if not len(train) or not len(test):
        raise ValueError("There are no tasks to train on." if not len(train) else "There are no tasks to judge on.")
    scores, failures = list[Score](), dict[str, str]()
    for done, each in enumerate(contestants):
        progress(each.name, done)
        try:
            said, seconds = each.answer(train, test, lambda step: None)
        except ValueError as why:
            failures[each.name] = str(why)
            continue
        scores.append(score(each.name, test, said, seconds))
    return scores, failures


def score(name: str, test: Attempts, said: Answers, train_seconds: float) -> Score:
    """Every figure of one model."""
    area = metrics.auc(test.correct, said.probability)
    return Score(
        name,
        len(test),
        None if isnan(area) else area,
        metrics.log_loss(test.correct, said.probability),
        metrics.brier(test.correct, said.probability),
        metrics.calibration_error(test.correct, said.probability),
        metrics.rmse_log_time(test.seconds, said.seconds),
        metrics.mae_seconds(test.seconds, said.seconds),
        metrics.coverage(test.seconds, said.seconds_low, said.seconds_high),
        round(train_seconds, 3),
    )


def contestants(ablation: bool = False) -> list[Contestant]:
    """All there are; with `ablation` V2 and gradient boosting also with fewer groups of inputs."""
    made = [Contestant("prior", _timed(lambda _, test: prior_answers(len(test))))]
    for name, (items, students) in BASELINES.items():
        made.append(Contestant(name, _timed(partial(_items_and_students, items=items, students=students))))
    made += [Contestant(kind.name, partial(_kind, kind)) for kind in reversed(MODELS)]
    if peers.are_installed():
        made.append(Contestant("gradient boosting", _timed(_boosting)))
        made.append(Contestant("logistic regression", _timed(lambda a, b: LogisticRegression(a).answers(b))))
    return made + list(_fewer_inputs() if ablation else ())


def _fewer_inputs() -> Iterator[Contestant]:
    for groups in GROUPS_SO_FAR[:-1]:
        name = " + ".join(groups)
        yield Contestant(f"embedding_v2 ({name})", _timed(partial(_v2, groups=groups)))
        if peers.are_installed():
            yield Contestant(f"gradient boosting ({name})", _timed(partial(_boosting, groups=groups)))


def as_dict(scores: Sequence[Score], failures: dict[str, str], train: Attempts, test: Attempts) -> dict[str, Any]:
    """For JSON."""
    return {
        "train_tasks": len(train),
        "train_students": len(np.unique(train.student)),
        "test_tasks": len(test),
        "test_students": len(np.unique(test.student)),
        "models": [asdict(each) for each in scores],
        "failures": failures,
    }


def _timed(answer: Callable[[Attempts, Attempts], Answers]) -> Callable[..., tuple[Answers, float]]:
    """For what trains and answers in one go."""

    def timed(train: Attempts, test: Attempts, _: Progress) -> tuple[Answers, float]:
        begun = perf_counter()
        said = answer(train, test)
        return said, perf_counter() - begun

    return timed


def _kind(kind: ModelSpec, train: Attempts, test: Attempts, progress: Progress) -> tuple[Answers, float]:
    begun = perf_counter()
    model = kind.fit(train, progress).served()
    took = perf_counter() - begun
    return model.answers(test, np.arange(len(test))), took


def _v2(train: Attempts, test: Attempts, groups: Sequence[str]) -> Answers:
    from app.ml.networks.fit import fit

    network = replace(registry.network("embedding_v2"), groups=tuple(groups))
    return fit(network, train).served().answers(test, np.arange(len(test)))


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


def _item_means(train: Attempts, asked: Attempts, items: bool) -> tuple[Floats, Floats]:
    """Probabilities and log times of the asked tasks' items in the training; pulled to the mean of all."""
    share, log_time = (train.correct.sum() + 1) / (len(train) + 2), float(np.log(plausible(train.seconds)).mean())
    if not items:
        return np.full(len(asked), share), np.full(len(asked), log_time)
    names, places = np.unique(_labels(train), return_inverse=True)
    n = np.bincount(places) + PRIOR_TASKS
    shares = (np.bincount(places, train.correct) + PRIOR_TASKS * share) / n
    times = (np.bincount(places, np.log(plausible(train.seconds))) + PRIOR_TASKS * log_time) / n
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

"""Memory and seconds of a training from scratch, step by step, without a database.

    python -m benchmarks.memory [--rows 300000 1000000 3000000 10000000] [--networks embedding_v2 ...]

Each number of rows is a process of its own, held to one thread as the training process is. *Peak* is the most that a
step held above what the process held before there were any tasks, TensorFlow imported; it holds the tasks themselves.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from scipy.special import ndtr

from app.core.memory import give_back
from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.kinds import BASE, NETWORKS
from app.ml.features import learning_curve
from app.ml.features.drift import summary
from app.ml.registry import BY_NAME
from app.ml.training.budget import begin_peak, peak, resident
from app.ml.training.gate import HoldoutSet, cut
from benchmarks.child import told_by

PER_STUDENT = 100  # tasks
TOPICS, ITEMS = 300, 3_000
NAMED = 0.7  # share of the tasks that name their exercise
SECOND = 1_000_000  # microseconds
BEGIN, YEAR = 1_735_689_600 * SECOND, 365 * 86_400 * SECOND  # of the year 2025
ROWS = (300_000, 1_000_000, 3_000_000)
T = TypeVar("T")


def attempts(rows: int, seed: int = 0) -> Attempts:
    """Made-up tasks of students who differ in ability and speed, on exercises that differ in both."""
    random = np.random.default_rng(seed)
    students = max(rows // PER_STUDENT, 1)
    student = random.integers(0, students, rows, dtype=np.int32)
    exercise = (ITEMS * random.random(rows) ** 2).astype(np.int32)  # some are given far more often than others
    finished = np.sort(random.integers(BEGIN, BEGIN + YEAR, rows))
    ease, length = random.normal(0.2, 0.7, ITEMS)[exercise], random.normal(3.5, 0.4, ITEMS)[exercise]
    correct = random.random(rows) < ndtr(random.normal(0, 0.8, students)[student] + ease)
    seconds = np.exp(length - random.normal(0, 0.3, students)[student] + random.normal(0, 0.5, rows))
    return Attempts(
        tuple(str(UUID(int=number)) for number in range(students)),
        tuple(f"topic {number:03}" for number in range(TOPICS)),
        tuple(f"item {number}" for number in range(ITEMS)),
        student,
        exercise % np.int32(TOPICS),
        exercise // np.int32(TOPICS) % np.int32(len(DIFFICULTIES)),
        np.where(random.random(rows) < NAMED, exercise, np.int32(-1)),
        finished - np.rint(seconds * SECOND).astype(np.int64) - 1,
        finished,
        correct,
        seconds,
    )


class Steps:
    """What each step took."""

    def __init__(self) -> None:
        self.floor = resident()
        self.taken: dict[str, dict[str, float]] = {}

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        give_back()
        begin_peak()
        begun = perf_counter()
        result = work()
        seconds, most = perf_counter() - begun, peak() - self.floor
        give_back()
        self.taken[name] = {"seconds": seconds, "peak": most, "held": resident() - self.floor}
        return result


def parts(rows: int, networks: list[str]) -> dict[str, Any]:
    """A training from scratch as `app/ml/training/run.py` does it."""
    import keras  # noqa: F401  (the floor holds TensorFlow)

    attempts(10_000)
    step = Steps()
    tasks = step("tasks", lambda: attempts(rows))
    older = tasks.take(slice(cut(rows)))
    holdout = HoldoutSet(tasks)
    with TemporaryDirectory() as folder:
        fitted = step("fit lnirt", lambda: BY_NAME[BASE].fit(older, print, None, None))
        base = fitted.served()
        step("judge lnirt", lambda: holdout.evaluate(base))
        for name in networks:
            network = step(f"fit {name}", partial(BY_NAME[name].fit, older, lambda _: None, None, base)).served()
            step(f"judge {name}", partial(holdout.evaluate, network))
        step("baselines", lambda: holdout.baselines)
        (place := Path(folder) / BASE).mkdir()
        finish = BY_NAME[BASE].finish
        step("finish lnirt", lambda: finish and finish(tasks, place))
        step("what was learnt from", lambda: summary(older))
        step("learning curve", lambda: learning_curve.estimated(tasks))
    return {"rows": rows, "floor": step.floor, "steps": step.taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=["embedding_v2", "embedding_lstm"])
    asked = parser.parse_args()
    for rows in asked.rows:
        found = told_by("benchmarks.memory", "--child", rows, *asked.networks)
        print(f"\n{rows:,} rows; floor {found['floor'] / 1e6:,.0f} MB")
        for name, taken in found["steps"].items():
            peak = taken["peak"]
            held = f"{taken['held'] / 1e6:8,.0f} MB after it"
            print(f"{name:24} {taken['seconds']:8.1f} s {peak / 1e6:8,.0f} MB {peak / rows:6,.0f} bytes a row {held}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(parts(int(sys.argv[2]), sys.argv[3:])))
    else:
        main()

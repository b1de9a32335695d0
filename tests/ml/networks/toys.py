"""Simulated students whose truth is known, and strangers made by hand."""

from dataclasses import replace

import numpy as np

from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate

START = 1_757_400_000_000_000  # microseconds UTC, a school morning in September 2025


def some_students(students: int = 40, tasks: int = 40, seed: int = 1) -> Attempts:
    return simulate(school(students, seed=seed), tasks, seed=seed).attempts


def with_items(attempts: Attempts) -> Attempts:
    """One exercise that nearly everybody can do in 10 s, one that nearly nobody can, in 100 s, and tasks without."""
    random = np.random.default_rng(0)
    item = random.integers(-1, 2, len(attempts)).astype(np.int32)
    chance = np.choose(item + 1, [0.5, 0.9, 0.1])
    seconds = np.choose(item + 1, [30.0, 10.0, 100.0]) * random.lognormal(0, 0.2, len(attempts))
    return replace(
        attempts, items=("easy one", "hard one"), item=item, correct=random.random(len(item)) < chance, seconds=seconds
    )


def one_student(correct: bool, seconds: float, tasks: int = 20) -> Attempts:
    """A stranger whose tasks all went the same way; the last row is the one to ask."""
    n = tasks + 1
    started = START + np.arange(n) * 300_000_000
    topic, item = np.arange(n, dtype=np.int32) % 3, np.full(n, -1, np.int32)
    names = (("stranger",), ("algebra", "fractions", "geometry"), ())
    finished = started + round(seconds * 1e6)
    ids = (np.zeros(n, np.int32), topic, np.ones(n, np.int32), item)
    return Attempts(*names, *ids, started, finished, np.full(n, correct), np.full(n, seconds))


def long_pasts() -> Attempts:
    """Three students, 210 tasks each, on a handful of items; some tasks are begun while others are under way."""
    attempts = some_students(3, 210, seed=2)
    item = (attempts.topic * 3 + attempts.difficulty) % 7 - 1
    earlier = np.where(np.arange(len(attempts)) % 5 == 0, 200_000_000, 0)
    return replace(
        attempts,
        items=tuple(f"item {place}" for place in range(6)),
        item=item.astype(np.int32),
        started=attempts.started - earlier,
    )


def fresh_from(first: int, n: int) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    """Which of n rows are new to a model that knows those before."""
    return np.arange(n) >= first

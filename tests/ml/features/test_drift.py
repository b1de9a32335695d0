"""Drift says whether what is asked now looks like what the model learned from."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy.orm import Session

from app.crud import model_versions
from app.crud.model_tracker import to_json
from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.drift import Asked, shifts, summary
from app.ml.features.inputs import INPUTS, inputs_of, known_before
from app.ml.training.scheduler import Trainer
from tests.conftest import SharedProcess
from tests.school import imported


def world(seed: int = 1, students: int = 40) -> Attempts:
    return simulate(school(seed=1, students=students), tasks=50, seed=seed).attempts


@pytest.fixture(scope="module")
def learned() -> Attempts:
    return world(seed=1)


def asked(attempts: Attempts, n: int = 1000) -> Asked:
    rows = np.random.default_rng(1).permutation(len(attempts))[:n]
    return Asked(inputs_of(known_before(attempts))[rows], attempts.student[rows])


def loudest(learned: Attempts, now: Asked) -> dict[str, int]:
    """The inputs that have moved, and how far."""
    return {each.name: each.grade for each in shifts(summary(learned), now) if each.grade and each.counts}


def test_the_same_school_is_steady(learned: Attempts) -> None:
    for seed in (2, 3, 4):
        for n in (300, 1000):
            assert loudest(learned, asked(world(seed), n)) == {}


def test_students_who_grow_older_are_no_drift() -> None:
    years = world(2)
    first = len(years) // 2
    newest = Asked(inputs_of(known_before(years))[first:], years.student[first:])
    assert loudest(years.take(slice(first)), newest) == {}


def test_students_who_take_twice_as_long_are_noticed(learned: Attempts) -> None:
    slow = world(2)
    moved = loudest(learned, asked(replace(slow, seconds=slow.seconds * 2), 300))
    assert moved["overall_avg_time"] == 2
    assert not any(name.endswith("rate") for name in moved)


def test_answers_that_are_all_right_are_noticed(learned: Attempts) -> None:
    same = world(2)
    moved = loudest(learned, asked(replace(same, correct=np.ones_like(same.correct))))
    assert moved["overall_success_rate"] == 2
    assert not any(name.endswith("time") for name in moved)


def test_one_student_alone_is_no_drift(learned: Attempts) -> None:
    rows = np.flatnonzero(learned.student == 3)
    alone = Asked(inputs_of(known_before(learned))[rows], learned.student[rows])
    assert loudest(learned, alone) == {}


def test_a_training_keeps_what_it_learned_from(db: Session, warm_process: SharedProcess) -> None:
    imported(db, world(students=4))
    trainer = Trainer(warm_process)
    trainer.train_now(kinds=["lnirt"])
    trainer.close()
    (made,) = model_versions.latest(db, 1)
    kept = made.report["inputs"]
    assert set(kept["parts"]) == set(INPUTS)
    assert len(to_json(kept)) < 30_000

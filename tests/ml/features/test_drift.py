"""Drift says whether what is asked now looks like what the model learned from."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.crud import model_versions
from app.crud.model_tracker import to_json
from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import school, simulate
from app.ml.features.drift import Asked, drift, shifts, summary
from app.ml.features.inputs import INPUTS, inputs_of, known_before
from app.ml.training.scheduler import Trainer
from tests.conftest import SharedProcess
from tests.school import imported
from tests.versions import version


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


def store(db: Session, asked: Asked, topic: str) -> None:
    """Predicted tasks, each of another student, committed."""
    told = np.column_stack([asked.inputs, np.zeros((len(asked.inputs), 2))])  # and what LNIRT said of each
    for row in told:
        db.execute(
            text("""INSERT INTO practice_tasks (user_id, topic, difficulty, correctness_prob, estimated_time_seconds,
                                                lnirt_model_version, features)
                    VALUES (gen_random_uuid(), :topic, 'easy', 0.5, 60, 'embedding_v2', :row)"""),
            {"topic": topic, "row": row.tolist()},
        )
    db.commit()


def trained(db: Session, learned: Attempts) -> model_versions.Version:
    """A version that learned from these."""
    made = version(db)
    db.execute(
        text("UPDATE model_versions SET report = report || CAST(:inputs AS jsonb) WHERE id = :id"),
        {"id": made, "inputs": to_json({"inputs": summary(learned)})},
    )
    return model_versions.get(db, made)


def test_it_is_silent_without_a_model_without_a_summary_and_with_few_tasks(db: Session, learned: Attempts) -> None:
    assert drift(db, None).verdict is None
    old = drift(db, model_versions.get(db, version(db)))
    assert old.verdict is None
    assert "before it was kept" in old.text
    store(db, asked(learned, 99), learned.topics[0])
    few = drift(db, trained(db, learned))
    assert (few.verdict, few.text) == (None, "Drift speaks from 100 tasks on; there are 99.")


def test_it_is_steady_on_the_same_and_loud_on_other_topics(db: Session, learned: Attempts) -> None:
    now = trained(db, learned)
    some = asked(world(2), 300)
    store(db, some, learned.topics[0])
    steady = drift(db, now)
    assert (steady.verdict, steady.n, len(steady.inputs)) == ("steady", 300, len(INPUTS))
    store(db, some, "a topic that nobody knew")
    other = drift(db, now)
    assert (other.verdict, other.unseen_topics) == ("strongly shifted", 0.5)
    assert "50% of the tasks are on topics that it never saw" in other.text


def test_a_training_keeps_what_it_learned_from(db: Session, warm_process: SharedProcess) -> None:
    imported(db, world(students=4))
    trainer = Trainer(warm_process)
    trainer.train_now(kinds=["lnirt"])
    trainer.close()
    (made,) = model_versions.latest(db, 1)
    kept = made.report["inputs"]
    assert set(kept["parts"]) == set(INPUTS)
    assert len(to_json(kept)) < 30_000

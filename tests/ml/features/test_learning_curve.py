from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import database_url
from app.crud import training_runs
from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import TOPICS, School, school, simulate
from app.ml.features import learning_curve
from app.ml.features.learning_curve import PRIOR_EFFECT, PRIOR_GAIN, PRIOR_SD, estimated
from app.ml.training.run import Order, train
from tests.school import imported

PROBIT = (1.45, 1.85)  # logits, about


def lived(truth: School, seed: int, tasks: int = 60) -> Attempts:
    return simulate(truth, tasks, seed=seed).attempts


@pytest.mark.parametrize("learning", [0.0, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_finds_how_much_practice_helps(learning: float, seed: int) -> None:
    found = estimated(lived(school(200, learning=learning, seed=seed), seed))
    assert learning * PROBIT[0] - 3 * found.standard_error < found.gain
    assert found.gain < learning * PROBIT[1] + 3 * found.standard_error
    assert found.tasks == 12_000


def test_its_standard_error_says_how_far_off_it_is() -> None:
    truth = 0.25 * 1.6
    found = [estimated(lived(school(100, learning=0.25, seed=seed), seed, 40)) for seed in range(40)]
    off = np.array([(each.gain - truth) / each.standard_error for each in found])
    assert 0.7 < off.std() < 1.3
    assert (np.abs(off) < 2).mean() > 0.85


def test_those_who_practise_more_being_the_able_ones_does_not_look_like_learning() -> None:
    truth = school(200, learning=0.0, seed=3)
    attempts = lived(truth, 3, 100)
    nth = np.array([(attempts.student[:row] == student).sum() for row, student in enumerate(attempts.student)])
    able = truth.ability[attempts.student] > 0
    found = estimated(attempts.take((nth < 20) | able))
    assert found.gain < 3 * found.standard_error


def test_practice_that_harms_counts_as_of_no_use() -> None:
    assert estimated(lived(school(200, learning=-0.5, seed=4), 4)).gain == 0


@pytest.mark.parametrize("tasks", [0, 1, 10])
def test_with_hardly_any_tasks_what_is_usual_stands_in(tasks: int) -> None:
    found = estimated(lived(school(30, learning=0.5, seed=5), 5).take(slice(tasks)))
    assert found.gain == pytest.approx(PRIOR_GAIN, abs=0.02)
    assert found.standard_error == pytest.approx(PRIOR_SD, abs=0.01)


def test_nothing_that_always_goes_right_tells_of_learning() -> None:
    attempts = lived(school(30, seed=6), 6)
    found = estimated(replace(attempts, correct=np.ones(len(attempts), np.bool_)))
    assert (found.gain, found.standard_error) == pytest.approx((PRIOR_GAIN, PRIOR_SD))


@given(st.integers(0, 40), st.integers(1, 5), st.integers(0, 10_000))
def test_it_is_a_sound_number_whatever_was_answered(tasks: int, students: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    attempts = lived(school(students, TOPICS[:2], seed=seed), seed, 8).take(slice(tasks))
    odd = replace(
        attempts,
        correct=random.random(len(attempts)) < random.random(),
        started=random.integers(0, 3, len(attempts)) * 10**15,
    )
    found = estimated(odd)
    assert 0 <= found.gain <= learning_curve.MOST_GAIN
    assert 0 < found.standard_error <= PRIOR_SD + 1e-12


def test_it_survives_being_stored_and_stands_in_where_nothing_is() -> None:
    found = estimated(lived(school(20, seed=7), 7))
    assert learning_curve.from_report(learning_curve.to_dict(found)) == found
    assert learning_curve.from_report(None) == PRIOR_EFFECT


def test_a_training_reports_it_with_every_version(db: Session, tmp_path: Path) -> None:
    attempts = lived(school(10, seed=8), 8, 20)
    imported(db, attempts)
    run = training_runs.ask(db)
    db.commit()
    order = Order(run, database_url(), str(tmp_path / "models"), 5, 10, 10, forced=True, kinds=["lnirt"])
    assert train(order, lambda step: None)["outcome"] in ("published", "rejected")
    reported = db.scalar(text("SELECT report->'practice_effect' FROM model_versions"))
    assert learning_curve.from_report(reported) == estimated(attempts)

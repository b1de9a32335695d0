"""Where a student stands, and how it came about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy.orm import Session

from app.analytics.ability import AbilityEstimate
from app.core.db.statements import run_sync
from app.crud import learning_record, student_totals
from app.domain.attempts import Attempts
from app.domain.tasks import TaskRequest
from app.ml.evaluation.simulated import SECOND, school, simulate
from app.ml.features.inputs import INPUTS
from app.ml.lnirt.ability import newcomers, standing
from app.ml.lnirt.dynamics import practice_when_created
from app.ml.lnirt.model import (
    PRACTICE_INPUTS,
    PRACTICE_UNITS,
    ServedLnirt,
    fit_lnirt,
)
from app.ml.lnirt.population import ItemParameters, Population
from tests.ml import following
from tests.school import imported

POPULATION = Population(mu_theta=0.1, mu_zeta=-0.05, var_theta=0.8, var_zeta=0.1, cov=0.12)
EASY = ItemParameters(1.1, -0.3, 0.9, 3.0, 0.25, alpha_var=0.1, beta_var=0.2, alpha_beta_cov=0.05, time_var=0.1)
HARD = ItemParameters(0.8, 0.9, 1.1, 3.6, 0.3)


def test_a_student_who_gets_better_goes_up_and_becomes_better_known() -> None:
    tasks = [(EASY, HARD)[place % 2] for place in range(60)]
    answers = [(False, 60.0)] * 20 + [(True, 12.0)] * 40
    history = [(item, *answer) for item, answer in zip(tasks, answers, strict=True)]
    places = [standing(POPULATION, following.exactly(POPULATION, history[:n])) for n in (0, 20, 40, 60)]
    abilities, speeds = ([getattr(each, name).middle for each in places] for name in ("ability", "speed"))
    assert abilities[1] < abilities[2] < abilities[3]
    assert speeds[1] < speeds[2] < speeds[3]
    widths = [each.ability.high - each.ability.low for each in places]
    assert widths[1] < widths[0]
    assert all(each.ability.low < each.ability.middle < each.ability.high for each in places)


def test_who_is_not_known_is_in_the_middle_and_might_be_anywhere() -> None:
    place = standing(POPULATION, newcomers(POPULATION)[0]).ability
    assert (place.low, place.middle, place.high) == pytest.approx((0.1, 0.5, 0.9), abs=0.01)


@pytest.fixture(scope="module")
def attempts() -> Attempts:
    made = simulate(school(12, seed=5), 30, seed=5).attempts
    item = np.random.default_rng(5).integers(-1, 6, len(made)).astype(np.int32)  # some without an item
    return replace(made, items=tuple(f"item {k}" for k in range(6)), item=item)


@pytest.fixture(scope="module")
def served(attempts: Attempts) -> ServedLnirt:
    """Of students who move."""
    fitted = fit_lnirt(attempts)
    still = fitted.bank.population
    moving = replace(still, ability_kept=0.94, speed_kept=0.97, probit_topic=0.2, time_item=-0.1)
    return fitted.moving_as(moving).served()


@pytest.fixture
def estimate(db: Session, attempts: Attempts, served: ServedLnirt) -> AbilityEstimate:
    """What is known of one of the students, who have done thirty tasks each."""
    imported(db, attempts)
    student = UUID(attempts.students[3])
    anything = TaskRequest(student, "", "medium")
    past = student_totals.past_of(student_totals.PAST.rows_sync(db, **student_totals.question(anything, None))[0])
    now = run_sync(served.state(1, anything, past), db)[0]
    return AbilityEstimate(served, past, now, 12, lambda most: run_sync(served.trajectory(anything, past.at, most), db))


def test_the_path_begins_with_a_newcomer_and_ends_with_what_the_service_says_now(
    served: ServedLnirt, estimate: AbilityEstimate
) -> None:
    course = estimate.states(30)
    assert len(course) == 31
    assert course[0].tolist() == newcomers(served.population)[0].tolist()
    assert course[-1] == pytest.approx(estimate.state, abs=1e-9)
    last = standing(served.population, course[-1])
    assert last.ability.middle == pytest.approx(estimate.now.ability.middle, abs=1e-9)


def test_each_point_is_what_the_answers_up_to_it_say(
    attempts: Attempts, served: ServedLnirt, estimate: AbilityEstimate
) -> None:
    rows = np.flatnonzero(attempts.student == 3)
    finished, _ = following.told(served, [following.Task.of(attempts, int(row)) for row in rows])
    states = [following.Followed.through(served.population, finished[:n]).state for n in range(31)]
    assert estimate.states(30) == pytest.approx(np.array(states), abs=1e-9)


def test_a_window_shows_the_same_points_as_the_whole(estimate: AbilityEstimate) -> None:
    whole, window = estimate.states(30), estimate.states(11)
    assert window.tolist() == whole[-12:].tolist()
    assert estimate.states(31).tolist() == whole.tolist()


def test_the_page_shows_the_points_that_it_asks_for(db: Session, attempts: Attempts, estimate: AbilityEstimate) -> None:
    done = learning_record.window(db, UUID(attempts.students[3]), estimate.past.at, 11, 10_000)
    first, middle, last = estimate.trajectory(done, [6, 11])
    assert last == estimate.now
    course = estimate.states(11)
    assert [first, middle] == [standing(estimate.model.population, course[at]) for at in (0, 6)]
    assert estimate.trajectory([], []) == []


def test_who_has_finished_nothing_stands_where_newcomers_do(db: Session, served: ServedLnirt) -> None:
    course = run_sync(served.trajectory(TaskRequest(UUID(int=0), "", "medium"), datetime.now(UTC), 30), db)
    assert course.tolist() == newcomers(served.population).tolist()


def test_what_was_never_fitted_is_expected_to_be_like_its_kind(served: ServedLnirt) -> None:
    bank = served.bank
    for item, topic, difficulty in [
        ("item 3", "algebra", "easy"),
        (None, "algebra", "easy"),
        ("new item", "algebra", "easy"),
        ("new item", "new topic", "hard"),
        (None, "new topic", "hard"),
    ]:
        for _ in range(2):  # asked again, it is remembered
            assert served.parameters(item, topic, difficulty) == bank.find(item, topic, difficulty)


def test_of_an_earlier_task_it_says_what_was_known_then(db: Session, attempts: Attempts, served: ServedLnirt) -> None:
    open_for = np.where(np.arange(len(attempts)) % 2, 5, 300) * SECOND  # many were created before others were finished
    made = replace(attempts, started=attempts.finished - open_for, seconds=open_for / SECOND)
    imported(db, made)
    rows = np.flatnonzero(made.student == 3)[5::4]
    together = served.answers(made, rows)
    for place, row in enumerate(rows):
        task = following.Task.of(made, int(row))
        asked = TaskRequest(UUID(made.students[3]), task.topic, task.difficulty, task.item)
        inputs = np.zeros(len(INPUTS))
        inputs[PRACTICE_INPUTS] = practice_when_created(made, rows)[:, place] / PRACTICE_UNITS
        created = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(made.started[row]))
        said = run_sync(served.answer_then(1, asked, inputs, created), db)
        expected = following.says(served, following.before(made, int(row)), *task[:3]).calibrated(served)
        assert (said.probability, said.seconds) == pytest.approx((expected.probability, expected.seconds), rel=1e-8)
        assert said.probability == pytest.approx(together.probability[place], rel=1e-8)

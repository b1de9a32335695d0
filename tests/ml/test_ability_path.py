"""Where a student stands, and how it came about."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.statements import hold_now
from app.crud import student_totals, studying
from app.domain.attempts import Attempts
from app.domain.tasks import Asked
from app.ml.ability_path import Answered, path, standing
from app.ml.lnirt_posterior import ItemParameters, Population, Posterior, newcomer, update
from app.ml.lnirt_service import ServedLnirt, fit_lnirt
from app.ml.simulated import school, simulate
from tests.school import imported

POPULATION = Population(mu_theta=0.1, mu_zeta=-0.05, var_theta=0.8, var_zeta=0.1, cov=0.12)
EASY = ItemParameters(1.1, -0.3, 0.9, 3.0, 0.25, alpha_var=0.1, beta_var=0.2, alpha_beta_cov=0.05, time_var=0.1)
HARD = ItemParameters(0.8, 0.9, 1.1, 3.6, 0.3)


def answered(correct: list[bool], seconds: list[float] | None = None) -> Answered:
    """On the two items in turn."""
    n = len(correct)
    return Answered([EASY, HARD], np.arange(n) % 2, np.array(correct, np.bool_), np.array(seconds or [20.0] * n))


def followed(given: Answered, before: Posterior | None = None) -> list[Posterior]:
    """The same, one update after another."""
    states = [before or newcomer(POPULATION)]
    for item, correct, seconds in zip(given.item, given.correct, given.seconds, strict=True):
        states.append(update(states[-1], given.items[item], bool(correct), float(seconds)))
    return states


def test_each_point_is_what_the_answers_up_to_it_say() -> None:
    given = answered([True, False, True, True, False], [12, 50, 8, 33, 90])
    states = followed(given)
    points = path(states[-1], given, [2, 5], are_all=True)
    for point, expected in zip(points, (states[0], states[2], states[5]), strict=True):
        assert point.to_array() == pytest.approx(expected.to_array(), abs=1e-9)


def test_what_came_before_the_window_is_in_it_from_the_start() -> None:
    before = followed(answered([False] * 8))[-1]
    given = answered([True, False, True])
    states = followed(given, before)
    points = path(states[-1], given, [1, 2, 3], are_all=False)
    assert [point.to_array() for point in points] == [pytest.approx(state.to_array()) for state in states]


def test_without_answers_it_stays_where_it_is() -> None:
    now = followed(answered([True]))[-1]
    nothing = Answered([], np.array([], np.intp), np.array([], np.bool_), np.array([]))
    assert [each.to_array() for each in path(now, nothing, [], are_all=False)] == [pytest.approx(now.to_array())]


def test_a_student_who_gets_better_goes_up_and_becomes_better_known() -> None:
    given = answered([False] * 20 + [True] * 40, [60.0] * 20 + [12.0] * 40)
    places = [standing(each) for each in path(followed(given)[-1], given, [20, 40, 60], are_all=True)]
    abilities, speeds = ([getattr(each, name).middle for each in places] for name in ("ability", "speed"))
    assert abilities[1] < abilities[2] < abilities[3]
    assert speeds[1] < speeds[2] < speeds[3]
    widths = [each.ability.high - each.ability.low for each in places]
    assert widths[1] < widths[0]
    assert all(each.ability.low < each.ability.middle < each.ability.high for each in places)


def test_who_is_not_known_is_in_the_middle_and_might_be_anywhere() -> None:
    place = standing(newcomer(POPULATION)).ability
    assert (place.low, place.middle, place.high) == pytest.approx((0.1, 0.5, 0.9), abs=0.01)


@pytest.fixture(scope="module")
def attempts() -> Attempts:
    made = simulate(school(12, seed=5), 30, seed=5).attempts
    item = np.random.default_rng(5).integers(-1, 6, len(made)).astype(np.int32)  # some without an item
    return replace(made, items=tuple(f"item {k}" for k in range(6)), item=item)


@pytest.fixture(scope="module")
def served(attempts: Attempts) -> ServedLnirt:
    return fit_lnirt(attempts).served()


@pytest.mark.parametrize("most", [30, 11])
def test_the_last_point_is_what_the_service_believes_now(
    db: Session, attempts: Attempts, served: ServedLnirt, most: int
) -> None:
    imported(db, attempts)
    student: UUID = db.scalar(text("SELECT user_id FROM practice_tasks LIMIT 1")) or UUID(int=0)
    anything = Asked(student, "", "medium")
    row = student_totals.PAST.rows_now(db, **student_totals.question(anything, None))[0]
    past = student_totals.past_of(row)
    now = hold_now(served.posterior(1, anything, past), db)
    done = studying.window(db, student, past.at, most, 10_000)
    assert len(done) == most
    given = Answered(
        [served.parameters(each.item_id, each.topic, each.difficulty) for each in done],
        np.arange(most),
        np.array([each.correct for each in done]),
        np.array([each.seconds for each in done]),
    )
    first, last = path(now, given, [most], are_all=most == past.n)
    assert last.to_array() == pytest.approx(now.to_array(), abs=1e-8)
    assert standing(last).ability.middle == pytest.approx(standing(now).ability.middle, abs=1e-9)
    if most == past.n:
        assert first.to_array() == pytest.approx(newcomer(served.population).to_array(), abs=1e-8)
    else:
        assert np.isfinite(first.to_array()).all()
        assert 0 < first.information < now.information


def test_what_was_never_fitted_is_expected_to_be_like_its_kind(served: ServedLnirt) -> None:
    bank = served._bank
    for item, topic, difficulty in [
        ("item 3", "algebra", "easy"),
        (None, "algebra", "easy"),
        ("new item", "algebra", "easy"),
        ("new item", "new topic", "hard"),
        (None, "new topic", "hard"),
    ]:
        for _ in range(2):  # asked again, it is remembered
            assert served.parameters(item, topic, difficulty) == bank.find(item, topic, difficulty).parameters

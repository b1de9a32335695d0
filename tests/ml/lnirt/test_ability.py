"""Students move: LNIRT forgets what no longer holds, lets a slip pass, follows a new pace, and counts practice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import log
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr

from app.domain.attempts import Attempts
from app.ml.evaluation.simulated import DAY, FIRST_DAY, SECOND, School, school, simulate
from app.ml.lnirt.ability import (
    BOUND,
    INFORMATION,
    Responses,
    columns_of,
    follow,
    newcomers,
    practised,
    predict,
    predict_one,
    remembered,
)
from app.ml.lnirt.dynamics import practice_of, practice_when_created
from app.ml.lnirt.model import FittedLnirt, ServedLnirt, fit_lnirt
from app.ml.lnirt.population import ItemParameters, Population
from tests.ml.following import Followed, Told, exactly

STILL = Population(mu_theta=0.1, mu_zeta=-0.05, var_theta=0.8, var_zeta=0.1, cov=0.12)
MOVING = replace(
    STILL, ability_kept=0.94, speed_kept=0.9, probit_topic=0.2, probit_item=0.3, time_topic=-0.1, time_item=-0.2,
    usual_topic=1.1, usual_item=0.4,
)  # fmt: skip
ITEM = ItemParameters(1.1, -0.3, 0.9, log(33), 0.15, alpha_var=0.1, beta_var=0.2, alpha_beta_cov=0.05, time_var=0.02)

items = st.builds(
    ItemParameters,
    alpha=st.floats(0.2, 3),
    beta=st.floats(-3, 3),
    phi=st.floats(0.1, 3),
    lambda_=st.floats(1, 5),
    sigma2=st.floats(0.05, 1),
    alpha_var=st.floats(0, 0.3),
    beta_var=st.floats(0, 1),
    alpha_beta_cov=st.floats(-0.05, 0.05),
    time_var=st.floats(0, 0.5),
).filter(lambda item: item.alpha_beta_cov**2 <= item.alpha_var * item.beta_var)
seconds = st.floats(0.2, 500) | st.sampled_from([0.2, 86_400.0])
told = st.builds(Told, items, st.booleans(), seconds, st.integers(0, 50), st.integers(0, 9))


def answered(population: Population, tasks: Sequence[Told]) -> Responses:
    practice = np.array([(each.on_topic, each.on_item) for each in tasks], np.float64).reshape(-1, 2).T
    columns = practised(population, columns_of([each.item for each in tasks]), practice)
    correct = np.array([each.correct for each in tasks], np.bool_)
    return Responses(columns, correct, np.log([each.seconds for each in tasks]))


def states(population: Population, students: Sequence[Sequence[Told]]) -> NDArray[np.float64]:
    """After each task of each student, all students at once."""
    tasks = answered(population, [each for student in students for each in student])
    counts = np.array([len(student) for student in students], np.intp)
    return follow(population, tasks, counts, newcomers(population, len(students)))


@settings(max_examples=40)
@given(st.lists(st.lists(told, max_size=8), max_size=5))
def test_many_students_at_once_are_known_as_each_is_alone(students: list[list[Told]]) -> None:
    expected = [Followed.through(MOVING, student[: n + 1]).state for student in students for n in range(len(student))]
    found = states(MOVING, students)
    assert found.tolist() == [pytest.approx(state, rel=1e-9, abs=1e-9) for state in expected]
    assert (found[:, INFORMATION] + 1 / MOVING.var_zeta > 0).all()


@given(st.lists(st.lists(told, min_size=1, max_size=30), min_size=2, max_size=4), st.sampled_from([STILL, MOVING]))
def test_a_student_alone_is_followed_as_beside_others(students: list[list[Told]], population: Population) -> None:
    together = states(population, students)
    alone = np.concatenate([states(population, [student]) for student in students])
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-9)


@given(st.lists(told, min_size=1, max_size=8), st.integers(0, 8))
def test_who_is_known_from_earlier_goes_on_from_there(tasks: list[Told], so_far: int) -> None:
    whole = states(MOVING, [tasks])
    earlier, later = tasks[:so_far], tasks[so_far:]
    begin = states(MOVING, [earlier])[-1:] if earlier else newcomers(MOVING)
    after = follow(MOVING, answered(MOVING, later), np.array([len(later)]), begin)
    assert after.tolist() == whole[so_far:].tolist()


@given(st.lists(st.tuples(items, st.booleans(), st.floats(-0.99 * BOUND, 0.99 * BOUND)), max_size=12), items)
def test_who_does_not_move_and_never_slips_is_known_exactly(
    answers: list[tuple[ItemParameters, bool, float]], asked: ItemParameters
) -> None:
    tasks, student = list[Told](), Followed.through(STILL, [])
    for item, correct, off in answers:
        centre, spread = student.expected_time(item)
        task = Told(item, correct, max(float(np.exp(centre + off * spread)), 0.11))
        if (log(task.seconds) - centre) / spread >= BOUND:  # nobody is quicker than a tenth of a second
            continue
        student.learn(task)
        tasks.append(task)
    state = np.concatenate([newcomers(STILL), states(STILL, [tasks])])[-1]
    exact = exactly(STILL, [(task.item, task.correct, task.seconds) for task in tasks])
    assert state == pytest.approx(exact, rel=1e-9, abs=1e-9)
    said = predict(STILL, state[None], columns_of([asked]))
    assert (said.probability[0], said.log_seconds[0]) == pytest.approx(tuple(student.says(asked))[:2], abs=1e-7)


def expected_seconds(population: Population, times: Sequence[float]) -> float:
    """Of the next task, after tasks that took so long."""
    state = states(population, [[Told(ITEM, True, each) for each in times]])[-1:]
    return float(np.exp(predict(population, state, columns_of([ITEM])).log_seconds[0]))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("slip", [86_400.0, 0.1])
def test_a_window_left_open_over_night_hardly_moves_what_is_expected_next(place: int, slip: float) -> None:
    usual = [33.0] * 3
    with_slip = [*usual[:place], slip, *usual[place:]]
    ratio = expected_seconds(STILL, with_slip) / expected_seconds(STILL, usual)
    assert 1 / 1.2 < ratio < 1.2


def test_slips_to_either_side_are_no_new_pace() -> None:
    alternating = expected_seconds(STILL, [33.0] * 5 + [86_400.0, 0.1] * 3)
    assert alternating == pytest.approx(33, rel=0.15)


@cache
def quick_class(students: int) -> ServedLnirt:
    """LNIRT of a class in which all take 30-60 s, thirty tasks each."""
    random = np.random.default_rng(3)
    pace = random.uniform(np.log(33), np.log(55), students)
    times = np.exp(np.clip(pace[:, None] + random.normal(0, 0.2, (students, 30)), np.log(30), np.log(60)))
    return fit_lnirt(of_students(times, random.random((students, 30)) < 0.7)).served()


def of_students(times: NDArray[np.float64], correct: NDArray[np.bool_]) -> Attempts:
    """Tasks of one kind, (students, n) seconds and marks; all take turns, one task a day."""
    students, n = times.shape
    started = FIRST_DAY + np.arange(times.size) * DAY
    nothing = np.zeros(times.size, np.int32)
    return Attempts(
        students=tuple(f"00000000-0000-4000-8000-{number:012d}" for number in range(students)),
        topics=("algebra",),
        items=(),
        student=np.tile(np.arange(students, dtype=np.int32), n),
        topic=nothing,
        difficulty=nothing,
        item=nothing - 1,
        started=started,
        finished=started + SECOND,
        correct=correct.T.ravel(),
        seconds=times.T.ravel(),
    )


def told_seconds(model: ServedLnirt, times: Sequence[float]) -> list[float]:
    """What one student is told before each of their tasks but the first, and after the last."""
    all_times = np.array([*times, times[-1]])[None]
    attempts = of_students(all_times, np.ones_like(all_times, np.bool_))
    said: list[float] = model.answers(attempts, np.arange(1, len(attempts))).seconds.tolist()
    return said


@pytest.mark.parametrize("students", [3, 9, 40])
def test_who_is_far_slower_than_all_others_is_told_so_after_five_tasks(students: int) -> None:
    assert told_seconds(quick_class(students), [240.0] * 5)[-1] > 180


@pytest.mark.parametrize("students", [3, 9, 40])
def test_who_becomes_far_slower_is_followed_within_about_six_tasks(students: int) -> None:
    said = told_seconds(quick_class(students), [33.0] * 50 + [240.0] * 7)
    assert said[49] == pytest.approx(33, rel=0.2)
    assert said[50] < 50  # it may have been a slip
    assert said[55] > 150
    assert said[56] > 180


@pytest.mark.parametrize("students", [3, 9, 40])
def test_whose_window_was_left_open_twice_is_soon_told_as_before(students: int) -> None:
    said = told_seconds(quick_class(students), [33.0] * 10 + [86_400.0] * 2 + [33.0] * 4)
    assert said[11] < 33 * 1.7
    assert said[-1] < 33 * 1.3


def test_who_has_learnt_is_followed_where_evidence_ages() -> None:
    course = [Told(ITEM, n % 5 == 0, 33.0) for n in range(100)] + [Told(ITEM, n % 10 > 0, 33.0) for n in range(30)]
    asked = columns_of([ITEM])
    still, moving = (
        float(predict(population, states(population, [course])[-1:], asked).probability[0])
        for population in (STILL, replace(STILL, ability_kept=0.94))
    )
    assert still < 0.5
    assert moving > 0.7


@pytest.mark.parametrize("kept", [0.99, 0.97, 0.94, 0.9])
def test_what_is_not_read_again_no_longer_counts(kept: float) -> None:
    population = replace(STILL, ability_kept=kept, speed_kept=0.9)
    assert remembered(population) < 1_000
    course = [Told(ITEM, False, 90.0)] * 500 + [Told(ITEM, True, 20.0)] * remembered(population)
    whole, read = states(population, [course])[-1:], states(population, [course[500:]])[-1:]
    chances = predict(population, np.concatenate([whole, read]), columns_of([ITEM, ITEM])).probability
    assert chances[0] == pytest.approx(chances[1], abs=0.01)


def test_practice_makes_a_task_easier_and_quicker_than_usual() -> None:
    practice = np.array([[0.0, 2.0, 40.0], [0.0, 0.0, 3.0]])
    said = predict(MOVING, newcomers(MOVING, 3), practised(MOVING, columns_of([ITEM] * 3), practice))
    assert (np.diff(said.probability) > 0).all()
    assert (np.diff(said.log_seconds) < 0).all()


@given(st.lists(told, max_size=8), items, st.integers(0, 50), st.integers(0, 9))
def test_one_task_is_predicted_as_many_are(tasks: list[Told], asked: ItemParameters, topic: int, item: int) -> None:
    state = np.concatenate([newcomers(MOVING), states(MOVING, [tasks])])[-1]
    column = columns_of([asked])
    many = predict(MOVING, state[None], practised(MOVING, column, np.array([[topic], [item]], np.float64)))
    one = predict_one(MOVING, state, practised(MOVING, list(asked), (topic, item)))
    assert [getattr(many, name)[0] for name in one._fields] == pytest.approx(list(one), rel=1e-9, abs=1e-9)


@given(st.lists(told, max_size=8), items, st.integers(0, 50), st.integers(0, 9))
def test_what_is_predicted_is_what_marks_and_times_say_together(
    tasks: list[Told], asked: ItemParameters, topic: int, item: int
) -> None:
    student = Followed.through(MOVING, tasks)
    column = practised(MOVING, list(asked), (topic, item))
    said, expected = predict_one(MOVING, np.array(student.state), column), student.says(asked, topic, item)
    assert (said.probability, said.log_seconds, said.spread) == pytest.approx(tuple(expected), rel=1e-7, abs=1e-9)


counted = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-1, 3), st.integers(1, 5)), max_size=30)


def sat_in_turn(rows: list[tuple[int, int, int, int]]) -> Attempts:
    """(student, topic, exercise, how many seconds it was open); one is finished each second."""
    student, topic, item, open_for = np.array(rows, np.int32).reshape(-1, 4).T
    finished = FIRST_DAY + np.arange(len(rows)) * SECOND
    n, nobody = len(rows), np.zeros(len(rows))
    return Attempts(
        tuple("ABC"), tuple("xyz"), tuple("pqrs"), student, topic, np.zeros(n, np.int32), item,
        finished - open_for * SECOND, finished, nobody > 0, nobody + 30,
    )  # fmt: skip


@given(counted)
def test_practice_is_what_was_finished_before_on_the_topic_and_on_the_exercise(
    rows: list[tuple[int, int, int, int]],
) -> None:
    on_topic: Counter[tuple[int, int]] = Counter()
    on_item: Counter[tuple[int, int]] = Counter()
    expected = []
    for student, topic, item, _ in rows:
        expected.append([on_topic[student, topic], on_item[student, item] if item >= 0 else 0])
        on_topic[student, topic] += 1
        on_item[student, item] += 1
    assert practice_of(sat_in_turn(rows)).T.tolist() == expected


@given(counted)
def test_practice_of_a_task_to_come_is_what_was_finished_when_it_was_created(
    rows: list[tuple[int, int, int, int]],
) -> None:
    expected = []
    for place, (student, topic, item, open_for) in enumerate(rows):
        known = rows[: max(place - open_for + 1, 0)]
        counts = [
            sum(each[:2] == (student, topic) for each in known),
            sum(each[::2] == (student, item) for each in known),
        ]
        expected.append([counts[0], counts[1] if item >= 0 else 0])
    assert practice_when_created(sat_in_turn(rows), np.arange(len(rows))).T.tolist() == expected


def lived(truth: School, tasks: int) -> Attempts:
    """Each kind of task is an exercise of its own."""
    made = simulate(truth, tasks, seed=2).attempts
    item = made.topic * 3 + made.difficulty
    return replace(made, items=tuple(f"exercise {n}" for n in range(3 * len(truth.topics))), item=item)


def who_change(truth: School, every: int) -> Attempts:
    """Students who are as able and as quick as somebody else after so many tasks each."""
    made = lived(truth, 120)
    random = np.random.default_rng(7)
    turn = practice_of(replace(made, topic=np.zeros_like(made.topic)))[0].astype(np.intp) // every
    ability, speed = (
        random.normal(0, 0.9, (len(truth.students), 120)),
        random.normal(0, 0.4, (len(truth.students), 120)),
    )
    chance = ndtr(ability[made.student, turn] - truth.hardness[made.topic, made.difficulty])
    pace = truth.effort[made.topic, made.difficulty] - speed[made.student, turn]
    return replace(
        made,
        correct=random.random(len(made)) < chance,
        seconds=np.exp(pace + random.normal(0, truth.spread, len(made))),
    )


@pytest.mark.parametrize("seed", [2, 3])
def test_practice_that_helps_is_found(seed: int) -> None:
    found = fit_lnirt(lived(school(60, learning=0.5, seed=seed), 80)).bank.population
    assert 0.3 < found.probit_topic + found.probit_item < 0.6
    assert -0.2 < found.time_topic + found.time_item < -0.08


@pytest.mark.parametrize("seed", [2, 3])
def test_who_does_not_learn_is_not_believed_to(seed: int) -> None:
    found = fit_lnirt(lived(school(60, learning=0.0, seed=seed), 80)).bank.population
    assert abs(found.probit_topic + found.probit_item) < 0.1
    assert abs(found.time_topic + found.time_item) < 0.05
    assert found.ability_kept >= 0.99
    assert found.speed_kept >= 0.99


def test_evidence_ages_where_students_change() -> None:
    found = fit_lnirt(who_change(school(30, learning=0.0, seed=2), 20)).bank.population
    assert found.ability_kept < 0.99
    assert found.speed_kept < 0.99


def test_where_nobody_has_done_anything_nothing_moves() -> None:
    found = fit_lnirt(lived(school(2), 3).take(slice(0))).bank.population
    assert (found.ability_kept, found.speed_kept, found.probit_topic, found.usual_topic) == (1, 1, 0, 0)


def test_how_students_move_is_saved_with_the_items(tmp_path: Path) -> None:
    fitted = fit_lnirt(lived(school(4), 20)).moving_as(MOVING)
    fitted.save(tmp_path)
    again = ServedLnirt.load(tmp_path).population
    assert again == fitted.bank.population
    assert {name: getattr(again, name) for name in fitted.report if hasattr(MOVING, name)} == {
        name: getattr(MOVING, name) for name in fitted.report if hasattr(MOVING, name)
    }


def test_a_state_that_says_less_than_this_release_keeps_is_not_read() -> None:
    model = FittedLnirt(fit_lnirt(lived(school(4), 20)).bank, {}).served()
    state = newcomers(model.population)[0]
    assert model.ability_estimate(state.tobytes())["ability"]["mean"] == pytest.approx(
        model.population.mu_theta, abs=1e-9
    )
    assert model.ability_estimate(state[1:].tobytes()) == {}
    assert model.ability_estimate(np.full_like(state, np.nan).tobytes()) == {}

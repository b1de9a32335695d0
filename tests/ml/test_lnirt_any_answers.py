"""LNIRT fits any legal answers: what it says is finite, and its chances lie strictly between 0 and 1."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.attempts import Attempts
from app.ml.lnirt.ability import STATE, Predictive, Responses, columns_of, follow, newcomers, predict_one
from app.ml.lnirt.estimation import fit
from app.ml.lnirt.model import fit_lnirt

LEAST, MOST = 0.1, 86_400.0  # seconds that the service lets a model learn from
seconds = st.sampled_from([LEAST, 1.0, 30.0, 30.0, 10_800.0, MOST]) | st.floats(LEAST, MOST)
mark = st.sampled_from([1.0, 0.0, float("nan")])
answer = st.tuples(st.integers(0, 3), st.integers(0, 3), mark, seconds | st.just(float("nan"))).filter(
    lambda row: not (np.isnan(row[2]) and np.isnan(row[3]))
)


@settings(deadline=None)
@given(st.lists(answer, min_size=1, max_size=40))
@example([(0, 0, 1.0, LEAST), (1, 0, 0.0, MOST)] * 10)
@example([(n, n, 1.0, LEAST) for n in range(20)])
@pytest.mark.filterwarnings("error")
def test_any_matrix_of_answers_is_fitted_with_finite_numbers(rows: list[tuple[int, int, float, float]]) -> None:
    person, item, correct, times = ([row[column] for row in rows] for column in range(4))
    fitted = fit(person, item, correct, times)
    assert isinstance(fitted.converged, bool)
    assert (np.diff(fitted.trace) > -1e-6 * np.abs(fitted.trace[1:]) - 1e-6).all()
    for who in range(len(fitted.persons)):
        for task in range(len(fitted.items)):
            says(predict_one(fitted.population, fitted.states[who], fitted.item(task)))


def says(predicted: Predictive[float]) -> None:
    """It is a prediction."""
    chances = predicted.low, predicted.probability, predicted.high
    assert all(0 < chance < 1 for chance in chances), predicted
    assert all(low <= high * (1 + 1e-9) for low, high in pairwise(chances)), predicted
    assert np.isfinite(predicted.log_seconds), predicted
    assert 0 < predicted.spread < np.inf, predicted


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), seconds), max_size=40), st.randoms())
@pytest.mark.filterwarnings("error")
def test_any_answers_leave_a_state_that_predicts_and_marks_count_in_any_order(rows: list[Any], chance: Any) -> None:
    fitted = fit([0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 1, 1], [20.0, 30.0, 5.0, 60.0])
    history = [(fitted.item(n % 2), *row) for n, row in enumerate(rows)]
    states = []
    for _ in range(2):
        marks, times = np.array([each[1] for each in history], np.bool_), np.array([each[2] for each in history])
        responses = Responses(columns_of([each[0] for each in history]), marks, np.log(times))
        begin = newcomers(fitted.population)
        after = follow(fitted.population, responses, np.array([len(history)]), begin)
        states.append(np.concatenate([begin, after])[-1])
        says(predict_one(fitted.population, states[-1], fitted.item(0)))
        chance.shuffle(history)
    np.testing.assert_allclose(states[1][STATE:], states[0][STATE:], rtol=1e-7, atol=1e-7)


any_time = st.sampled_from([5e-324, 1e-9, 0.001]) | seconds  # as it is stored
task = st.tuples(
    st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.integers(-1, 2), st.booleans(), any_time
)  # student, topic, difficulty, item, correct, seconds


@settings(deadline=None, max_examples=40)
@given(st.lists(task, min_size=1, max_size=90))
@pytest.mark.filterwarnings("error")
def test_any_finished_tasks_make_a_model_that_answers(tmp_path_factory: Any, rows: list[tuple[Any, ...]]) -> None:
    fitted = fit_lnirt(attempts(rows))
    served = fitted.served()
    said = served.answers(attempts(rows), np.arange(len(rows)))
    assert ((said.probability > 0) & (said.probability < 1)).all()
    assert (np.isfinite(said.seconds) & (said.seconds > 0)).all()
    fitted.save(tmp_path_factory.mktemp("lnirt"))


def attempts(rows: list[tuple[Any, ...]]) -> Attempts:
    """One task a minute, by the order in which they are finished."""
    student, topic, difficulty, item, correct, times = (np.array([row[c] for row in rows]) for c in range(6))
    started = np.arange(len(rows), dtype=np.int64) * 60_000_000
    finished = started + np.maximum(np.rint(times * 1e6).astype(np.int64), 1)
    made = Attempts(
        tuple("abcd"),
        tuple("xyz"),
        ("i", "j", "k"),
        student.astype(np.int32),
        topic.astype(np.int32),
        difficulty.astype(np.int32),
        item.astype(np.int32),
        started,
        finished,
        correct.astype(np.bool_),
        times.astype(np.float64),
    )
    return made.take(np.argsort(finished, kind="stable"))

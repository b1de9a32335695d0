"""The service itself in a replay: first what it says without data, then what it has learned."""

import numpy as np
import pytest

from app.domain.kinds import BASE
from app.ml import metrics
from app.ml.evaluation.prequential import RetrainingSchedule
from app.ml.evaluation.served import Installation, Served
from app.ml.evaluation.simulated import school, simulate
from app.ml.training.gate import cut

ATTEMPTS = simulate(school(8, seed=6), 40, seed=6).attempts


@pytest.mark.parametrize("kinds", [[], pytest.param(["embedding_v2"], marks=pytest.mark.slow)])
def test_first_answers_are_half_and_a_minute_then_they_follow_the_students(kinds: list[str]) -> None:
    outcome = Served(kinds, growth=0.5).answer(ATTEMPTS, RetrainingSchedule(100, 50), None)
    nobody = ATTEMPTS.started < ATTEMPTS.finished[0]
    assert nobody.any()
    assert set(outcome.p[nobody]) == {0.5}
    assert set(outcome.seconds[nobody]) == {60.0}
    assert not outcome.by_model[nobody].any()
    later = ATTEMPTS.started > ATTEMPTS.finished[20]
    assert outcome.by_model[later].all()
    assert metrics.auc(ATTEMPTS.correct[later], outcome.p[later]) > 0.6
    constant = np.full(len(ATTEMPTS), 60.0)
    errors = [metrics.rmse_log_time(ATTEMPTS.seconds[later], each[later]) for each in (outcome.seconds, constant)]
    assert errors[0] < errors[1]
    assert (outcome.trainings, outcome.failures) == (len(RetrainingSchedule(100, 50).due(len(ATTEMPTS))), [])


def test_an_answer_knows_nothing_of_what_came_later() -> None:
    n = 200
    whole, part = (
        Served([], growth=0.5).answer(tasks, RetrainingSchedule(100, 50), None)
        for tasks in (ATTEMPTS, ATTEMPTS.take(slice(n)))
    )
    known = ATTEMPTS.started[:n] < ATTEMPTS.finished[cut(n)]
    np.testing.assert_allclose(whole.p[:n][known], part.p[known], rtol=1e-9)


def test_the_installation_serves_lnirt_as_fitted_to_all_its_tasks() -> None:
    house, outcome = (
        Installation([], 0.5),
        Served([], 0.5).answer(ATTEMPTS.take(slice(20)), RetrainingSchedule(10, 10), None),
    )
    house.train(ATTEMPTS.take(slice(200)), outcome, lambda step: None)
    (version,) = house.serving.values()
    assert version.kind.name == BASE
    assert version.n_tasks == cut(200)
    assert version.serving is not version.evaluated
    assert house.shares[BASE].chance == house.shares[BASE].time == 1

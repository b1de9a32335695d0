"""What a network is told of LNIRT while it learns comes from fits that did not see the row."""

from dataclasses import replace

import numpy as np
import pytest

from app.ml.lnirt.model import fit_lnirt
from app.ml.networks.base_inputs import FIRST, MANY_STUDENTS, MANY_TASKS, NOTHING_KNOWN, cross_fitted
from app.ml.networks.fit import network_inputs
from tests.ml.networks.toys import some_students


@pytest.mark.parametrize(("students", "tasks"), [(50, 25), (4, 60)])
def test_a_row_is_not_told_its_own_result(students: int, tasks: int) -> None:
    attempts = some_students(students, tasks)
    assert (students >= MANY_STUDENTS and len(attempts) > MANY_TASKS) == (students == 50)
    moving = fit_lnirt(attempts).bank.population
    row = len(attempts) // 2
    correct, seconds = attempts.correct.copy(), attempts.seconds.copy()
    correct[row], seconds[row] = not correct[row], 3 * seconds[row]
    before, after = (cross_fitted(a, moving) for a in (attempts, replace(attempts, correct=correct, seconds=seconds)))
    assert np.isfinite(before).all()
    np.testing.assert_array_equal(before[row], after[row])
    later = (attempts.student == attempts.student[row]) & (attempts.started >= attempts.finished[row])
    assert (before[later] != after[later]).any()


def test_the_first_tasks_of_a_young_service_are_told_nothing() -> None:
    attempts = some_students(4, 30)
    told = cross_fitted(attempts, fit_lnirt(attempts).bank.population)
    np.testing.assert_array_equal(told[:FIRST], np.tile(NOTHING_KNOWN, (FIRST, 1)))
    assert (told[FIRST:] != NOTHING_KNOWN).all()


def test_it_tells_the_easy_from_the_hard() -> None:
    attempts = some_students(50, 25)
    inputs = network_inputs(attempts, fit_lnirt(attempts).served())
    odds, log_time = inputs[:, -2], inputs[:, -1]
    assert odds[attempts.correct].mean() > odds[~attempts.correct].mean() + 0.3
    assert np.corrcoef(log_time, np.log(attempts.seconds))[0, 1] > 0.3

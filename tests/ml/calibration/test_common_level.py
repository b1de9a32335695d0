"""A level is what students have in common, not what one of them does often."""

import numpy as np
import pytest

from app.ml.calibration.calibration import common_level


def of_students(levels: list[float], rows: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals with standard deviation 1 of students with these levels: whose, scores, information."""
    student = np.repeat(np.arange(len(levels)), rows)
    residuals = np.random.default_rng(seed).normal(np.array(levels)[student], 1.0)
    return student, residuals, np.ones(len(student))


def test_what_all_share_is_found() -> None:
    found = common_level(*of_students([0.4] * 60, [50] * 60), usual_sd=0.2, level_sd=0.3)
    assert found == pytest.approx(0.4, abs=0.05)


def test_a_student_with_most_of_the_tasks_counts_as_a_student() -> None:
    levels, rows = [2.0] + [0.0] * 30, [3_000] + [50] * 30
    student, scores, information = of_students(levels, rows)
    assert scores.mean() > 1
    assert common_level(student, scores, information, usual_sd=0.2, level_sd=0.3) < 0.2


def test_few_students_who_differ_say_little_however_many_tasks_they_do() -> None:
    alike = common_level(*of_students([0.3] * 40, [200] * 40), usual_sd=0.3, level_sd=0.1)
    differing = common_level(*of_students([1.3, -0.7, 1.2, -0.6], [2_000] * 4), usual_sd=0.3, level_sd=0.1)
    assert alike > 0.2
    assert abs(differing) < 0.05


@pytest.mark.parametrize("students", [0, 1])
def test_nobody_or_one_student_is_no_level_of_all(students: int) -> None:
    found = common_level(*of_students([1.0] * students, [500] * students), usual_sd=0.4, level_sd=0.1)
    assert 0 <= found < 0.08

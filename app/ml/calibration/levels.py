"""The level that students have in common: a random-effects mean, in which nobody counts for more than a student.

Each student's own level is d_s with variance v_s, the levels differ between students by tau^2 (DerSimonian and Laird
1986, Controlled Clinical Trials 7, 177-188), so a student counts 1 / (v_s + tau^2): never more than 1 / tau^2, however
many tasks they bring. tau^2 is shrunk towards a usual one, for a few students can't tell it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

USUAL_STUDENTS = 5.0  # what the usual variance between students counts for


def common_level(
    student: NDArray[np.integer[Any]], scores: Floats, information: Floats, *, usual_sd: float, level_sd: float
) -> float:
    """Mean level of the students of n rows, shrunk to 0 by a prior of standard deviation `level_sd`; 0 without rows.

    `scores` and `information` (n,) are each row's first and negative second derivative of its log-likelihood at level
    0: for log odds y - p and p (1 - p), for a residual r of variance s^2 r / s^2 and 1 / s^2. `student` (n,) names
    whose row it is. `usual_sd` is how far students' own levels usually lie apart.
    """
    _, whose = np.unique(student, return_inverse=True)
    weight: Floats = np.maximum(np.bincount(whose, information), 1e-12)
    own: Floats = np.bincount(whose, scores) / weight
    counts = 1 / (1 / weight + _between(own, weight, usual_sd**2))
    return float(counts @ own / (counts.sum() + level_sd**-2))


def _between(own: Floats, weight: Floats, usual: float) -> float:
    """Variance between students beyond what chance makes of their levels: method of moments, shrunk to a usual one."""
    students, total = len(own), weight.sum()
    if students < 2:
        return usual
    q = float(weight @ np.square(own - weight @ own / total))
    moments = (q - (students - 1)) / (total - np.square(weight).sum() / total)
    return float((students * max(moments, 0.0) + USUAL_STUDENTS * usual) / (students + USUAL_STUDENTS))

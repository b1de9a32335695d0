"""The climb to the most probable parameters of LNIRT: EM steps, accelerated, and never downhill.

The acceleration is Anderson's (Walker & Ni 2011, SIAM J. Numer. Anal. 49, 1715-1735).
"""

from dataclasses import dataclass

import numpy as np

from app.ml.lnirt.data import Floats, Responses
from app.ml.lnirt.em import Curves, Expected, e_step, m_step, total
from app.ml.lnirt.parameters import Grid, Parameters, Prior, log_prior

MEMORY = 8  # steps the acceleration looks back on


@dataclass(frozen=True, slots=True)
class Optimum:
    """Where the climb ended, the objective after each accepted step, and whether the steps had become small."""

    curves: Curves
    expected: Expected
    trace: list[float]
    converged: bool

    @property
    def parameters(self) -> Parameters:
        return self.curves.p


def optimize(
    answers: Responses, start: Parameters, prior: Prior, grid: Grid, *, tolerance: float, steps: int
) -> Optimum:
    """EM with Anderson acceleration; no step that lowers the objective is kept.

    An accelerated point that is worse than the last one is replaced by the plain EM point, and that one, should its
    Newton step have gone too far, is drawn back half-way until it is better (an EM direction points uphill).
    Stops when a plain EM step would move no parameter by more than `tolerance`.
    """

    def looked_at(p: Parameters) -> tuple[Curves, Expected, float]:
        """The point's E-step over all shards, and the log posterior there."""
        curves = Curves.of(p, grid)
        found = total(answers.each(e_step, curves))
        return curves, found, found.log_evidence + log_prior(p, prior, answers.n_times)

    curves, e, objective = looked_at(start)
    trace = [objective]
    points: list[Floats] = []
    moves: list[Floats] = []
    for _ in range(steps):
        p, image = curves.p, m_step(e, curves, prior, answers.n_times)
        here, move = p.vector(), image.vector() - p.vector()
        if np.max(np.abs(move)) < tolerance:
            return Optimum(curves, e, trace, True)
        points, moves = [*points[-MEMORY:], here], [*moves[-MEMORY:], move]
        slack = 1e-12 * abs(objective)  # rounding, no more: else it would creep downhill along a flat ridge
        following = looked_at(p.like(_anderson(points, moves)))
        share = 1.0
        while not following[2] >= objective - slack:
            points, moves = [], []
            if share < 1e-3:  # rounding hides any further gain
                return Optimum(curves, e, trace, bool(np.max(np.abs(move)) < 10 * tolerance))
            following = looked_at(p.like(here + share * move))
            share /= 2
        curves, e, objective = following
        trace.append(objective)
    return Optimum(curves, e, trace, False)


def _anderson(points: list[Floats], moves: list[Floats]) -> Floats:
    """The next point: the combination of past points whose move would have been smallest, plus that move."""
    if len(points) < 2:
        return points[-1] + moves[-1]
    d_moves = np.diff(np.array(moves), axis=0)
    d_points = np.diff(np.array(points), axis=0)
    gram = d_moves @ d_moves.T
    gram[np.diag_indices_from(gram)] *= 1 + 1e-8
    gamma = np.linalg.lstsq(gram, d_moves @ moves[-1], rcond=1e-12)[0]
    return np.asarray(points[-1] + moves[-1] - gamma @ (d_points + d_moves))

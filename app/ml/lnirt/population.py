"""What LNIRT knows: how ability and speed differ among students, and what is known of a task.

Model and symbols are those of `estimation.py` (van der Linden 2007); numbers are in R LNIRT's scale, times in seconds,
logs natural.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from app.ml.lnirt.data import Floats
from app.ml.lnirt.parameters import normal_grid

FINER = 5  # the grid is read out this much finer: log-weights are smooth, however sharp the posterior gets


@dataclass(frozen=True)
class Population:
    """Ability and speed among students: bivariate normal. `nodes` is the size of every student's grid of abilities.

    How they move (app/ml/lnirt/ability.py): a further answer leaves the shares `ability_kept` and `speed_kept` of what
    the earlier ones said of a student; each log(1 + tasks) that they have done on the topic, and on the very exercise,
    more than the `usual` adds to the probit of a right answer and to the log seconds.
    """

    mu_theta: float
    mu_zeta: float
    var_theta: float
    var_zeta: float
    cov: float
    nodes: int = 31
    ability_kept: float = 1.0
    speed_kept: float = 1.0
    probit_topic: float = 0.0
    probit_item: float = 0.0
    time_topic: float = 0.0
    time_item: float = 0.0
    usual_topic: float = 0.0
    usual_item: float = 0.0

    @property
    def cor(self) -> float:
        return self.cov / float(np.sqrt(self.var_theta * self.var_zeta))

    @cached_property
    def slope(self) -> float:
        """Regression of speed on ability."""
        return self.cov / self.var_theta

    @cached_property
    def var_zeta_given_theta(self) -> float:
        return self.var_zeta - self.cov**2 / self.var_theta

    @cached_property
    def theta(self) -> Floats:
        """The grid, (nodes,)."""
        return np.asarray(self.mu_theta + np.sqrt(self.var_theta) * normal_grid(self.nodes).theta)

    @cached_property
    def log_weights(self) -> Floats:
        """Prior log-weights of the grid, (nodes,)."""
        return normal_grid(self.nodes).log_weight

    @cached_property
    def zeta(self) -> Floats:
        """Expected speed at each node of the grid, (nodes,)."""
        return np.asarray(self.mu_zeta + self.slope * (self.theta - self.mu_theta))

    @cached_property
    def speed_terms(self) -> tuple[Floats, Floats]:
        """zeta / v and zeta^2 / v at each node, (nodes,) each, v being the variance of zeta given theta."""
        return self.zeta / self.var_zeta_given_theta, self.zeta**2 / self.var_zeta_given_theta

    @cached_property
    def fine(self) -> tuple[Floats, Floats]:
        """The read-out grid (M,) and the matrix (M, nodes) of the cubic spline from `theta` to it."""
        theta = np.linspace(self.theta[0], self.theta[-1], FINER * (self.nodes - 1) + 1)
        return theta, CubicSpline(self.theta, np.eye(self.nodes))(theta)

    @cached_property
    def powers(self) -> Floats:
        """The read-out grid to the power of 0, 1 and 2, (3, M)."""
        return np.vander(self.fine[0], 3, increasing=True).T.copy()


class ItemParameters(NamedTuple):
    """P = Phi(alpha theta - beta), log T ~ N(lambda - phi zeta, sigma2), and how well they are known.

    The (co)variances of alpha and beta widen the probit: Phi((alpha theta - beta) / sqrt(1 + var(alpha theta - beta))).
    `time_var` is what not knowing lambda and phi adds to sigma2 for a student of the population.
    """

    alpha: float
    beta: float
    phi: float
    lambda_: float
    sigma2: float
    alpha_var: float = 0.0
    beta_var: float = 0.0
    alpha_beta_cov: float = 0.0
    time_var: float = 0.0

    @classmethod
    def estimated(cls, mean: Floats, cov: Floats, sigma2: float, population: Population) -> "ItemParameters":
        """From mean (4,) and covariance (4, 4) of (alpha, beta, phi, lambda)."""
        zeta2 = population.var_zeta + population.mu_zeta**2
        time_var = max(cov[3, 3] - 2 * population.mu_zeta * cov[2, 3] + zeta2 * cov[2, 2], 0.0)
        alpha, beta, phi, lambda_ = mean.tolist()
        return cls(alpha, beta, phi, lambda_, sigma2, *map(float, (cov[0, 0], cov[1, 1], cov[0, 1], time_var)))

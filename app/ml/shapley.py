"""Exact Shapley values: how n players share what all of them together bring.

Each coalition of the n is asked for what it is worth; a player gets the mean of what it adds, over all the orders in
which the n may come together. The shares add up exactly to the whole less the empty coalition.

Shapley (1953), "A value for n-person games"; for predictions, a feature outside the coalition taking the value of an
average case: Strumbelj & Kononenko (2014), "Explaining prediction models and individual predictions with feature
contributions".
"""

from math import factorial

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def coalitions(n: int) -> NDArray[np.bool_]:
    """All of n players, (2^n, n): row k holds player i where bit i of k is set."""
    rows: NDArray[np.bool_] = (np.arange(2**n)[:, None] >> np.arange(n)) & 1 == 1
    return rows


def mixed(own: Floats, others: Floats, n: int) -> Floats:
    """For each coalition of the first n columns a row: `own` in it, `others` outside; the other columns are `own`."""
    rows = np.tile(own, (2**n, 1))
    rows[:, :n] = np.where(coalitions(n), own[:n], others[:n])
    return rows


def shares(worth: Floats) -> Floats:
    """Of what each coalition is worth, (2^n,) as in `coalitions`, the shares of the players, (n,)."""
    n = len(worth).bit_length() - 1
    inside = coalitions(n)
    sizes = inside.sum(axis=1)
    orders = np.array([factorial(size) * factorial(n - size - 1) for size in range(n)], np.float64) / factorial(n)
    each = np.arange(2**n)
    without = [each[~inside[:, player]] for player in range(n)]
    return np.array(
        [orders[sizes[rest]] @ (worth[rest | 1 << player] - worth[rest]) for player, rest in enumerate(without)]
    )

"""The shares add up, the idle get nothing, equals get the same."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from app.ml import shapley


def worth_of(n: int, game: Callable[[NDArray[np.bool_]], float]) -> NDArray[np.float64]:
    return np.array([game(inside) for inside in shapley.coalitions(n)])


def test_of_independent_parts_each_gets_its_own() -> None:
    parts = np.array([3.0, -1.0, 0.0, 0.5])
    assert shapley.shares(worth_of(4, lambda inside: float(parts[inside].sum()))) == pytest.approx(parts)


def test_what_only_a_pair_brings_is_shared_evenly() -> None:
    assert shapley.shares(worth_of(3, lambda inside: float(inside[0] and inside[2]))) == pytest.approx([0.5, 0, 0.5])


def test_the_textbook_gloves() -> None:
    """Two left gloves, one right: a pair is worth 1."""
    shares = shapley.shares(worth_of(3, lambda inside: float((inside[0] or inside[1]) and inside[2])))
    assert shares == pytest.approx([1 / 6, 1 / 6, 2 / 3])


def test_eleven_shares_add_up_to_the_whole() -> None:
    worth = np.random.default_rng(0).random(2**11)
    assert shapley.shares(worth).sum() == pytest.approx(worth[-1] - worth[0], abs=1e-12)


def test_one_that_changes_nothing_gets_nothing() -> None:
    random = np.random.default_rng(1).random(2**4)
    worth = np.array([random[k & ~4 & 15] for k in range(16)])
    assert shapley.shares(worth)[2] == 0


def test_outside_the_coalition_stands_the_other_value() -> None:
    rows = shapley.mixed(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 40]), 2)
    assert rows.tolist() == [[10, 20, 3, 4], [1, 20, 3, 4], [10, 2, 3, 4], [1, 2, 3, 4]]

"""The gradients that V2 learns by, against differences of what they are gradients of."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from app.ml import fitting, numpy_training, training
from app.ml.embedding_model_v2 import IDS
from app.ml.inputs import GROUPS
from app.ml.numpy_training import Learner, Rows
from app.ml.simulated import school, simulate
from app.ml.v2_state import State, named

Floats = NDArray[np.float64]
TINY_STEP = 1e-5


class Costs:
    """What one batch costs with given weights: the sum that `slopes` is the gradient of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts = simulate(school(12, seed=4), 30, seed=4).attempts.take(slice(300))
        inputs = fitting.checked_inputs(attempts)
        start = training._untrained(attempts, inputs, tuple(GROUPS), slice(None), 0)
        self.sizes, rows = start.sizes, training._rows(start, attempts, inputs)
        learner = Learner(start.state, self.sizes, 0)
        learner.epoch(rows, np.arange(300, dtype=np.int32), training._pace(300, 0.1))
        state = learner.state()
        seen = {name: part.astype(np.float64) for name, part in state.seen.items()}
        self.state: State = replace(state, flat=state.flat.astype(np.float64), seen=seen)  # type: ignore[arg-type]
        self.batch = self._doubles(rows.take(slice(0, 24)))
        self._said: list[Floats] = []
        costs = numpy_training._costs

        def spied(out: Floats, batch: Rows, s: int) -> object:
            self._said.append(out.copy())
            return costs(out, batch, s)  # type: ignore[arg-type]

        monkeypatch.setattr(numpy_training, "_costs", spied)

    @staticmethod
    def _doubles(rows: Rows) -> Rows:
        columns = {name: getattr(rows, name).astype(np.float64) for name in ("past", "correct", "log_time")}
        return replace(rows, **columns)

    def slope(self, flat: Floats) -> Floats:
        """The gradient; the same ids, dropouts and rises every time."""
        learner = Learner(replace(self.state, flat=flat), self.sizes, 0)  # type: ignore[arg-type]
        learner.slopes(self.batch)
        return learner._slope.astype(np.float64)

    def cost(self, flat: Floats) -> float:
        self.slope(flat)
        out, b = self._said.pop(), len(self.batch)
        chances, times = out[:, :b, 0], out[:, :b, 1]
        entropy = (np.logaddexp(0, chances) - self.batch.correct * chances).mean(axis=1)
        distance = np.square(np.log(np.logaddexp(0, times) + 1e-7) - self.batch.log_time).mean(axis=1)
        answers = np.stack([out[0, b:, 0], out[1, b:, 1]])
        still, raised = np.split(answers, 2, axis=1)
        falls = np.maximum(still - raised, 0).mean(axis=1)
        return float(entropy @ [1, 0.25] + distance.sum() + 5 * falls.sum())


def test_every_kind_of_weight_has_the_gradient_of_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = Costs(monkeypatch)
    flat = np.asarray(costs.state.flat, np.float64)
    slope = costs.slope(flat)
    for name, places in named(np.arange(len(flat)), costs.sizes).items():  # type: ignore[arg-type]
        steepest = places.ravel()[np.argsort(-np.abs(slope[places.ravel()]))[:3]]
        for place in steepest.astype(int):
            step = np.zeros(len(flat))
            step[place] = TINY_STEP
            difference = (costs.cost(flat + step) - costs.cost(flat - step)) / (2 * TINY_STEP)
            assert slope[place] == pytest.approx(difference, rel=1e-3, abs=1e-5), name


def test_an_id_that_is_in_no_row_learns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = Costs(monkeypatch)
    slope = named(costs.slope(np.asarray(costs.state.flat, np.float64)), costs.sizes)  # type: ignore[arg-type]
    for name, ids in zip(IDS, costs.batch.ids, strict=True):
        table = slope[f"{name}_vector"]
        absent = np.setdiff1d(np.arange(table.shape[1]), ids)
        assert not table[:, absent].any()

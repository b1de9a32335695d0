"""Attention: the task to come looks at a student's finished tasks and takes from those that resemble it, as in SAKT
(Pandey and Karypis 2019) with distances as in AKT (Ghosh and others 2020). One Keras network for correctness, one for
time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from app.core.db.statements import QueryFlow
from app.crud.student_sequences import latest
from app.domain.attempts import Attempts
from app.domain.tasks import TaskRequest
from app.ml.networks.inference import Arrays, Floats, Places, ServedNetwork, dense, relu
from app.ml.networks.network import Weights
from app.ml.networks.sequences import SequenceNetwork, ServedSequence, Windows, states_seen, window_start

PERIODS = (4.0, 16.0, 64.0, 256.0)  # steps: sines and cosines of a place, so that nearness can count


@dataclass(frozen=True)
class Attention(SequenceNetwork):
    """One layer of attention from the asked task to the steps; then dense layers over what it found."""

    name: ClassVar[str] = "embedding_attention"
    readers: ClassVar[tuple[str, ...]] = ("step", "query", "dense_1")

    units: tuple[int, ...] = (64, 32, 16)  # steps and queries, dense, dense
    heads: int = 4
    dropouts: tuple[float, ...] = (0.2, 0.1)

    def known(self, steps: Any, asked: Any, done: Any, *, learning: bool) -> Any:
        from keras import layers, ops

        found, positions = states_seen(layers.Dense(self.units[0], activation="relu", name="step")(steps))
        query = layers.Dense(self.units[0], activation="relu", name="query")(asked)
        query = layers.Concatenate()([query, _waves(done)])  # (w, a, u + 8)
        found = layers.Concatenate()([found, _waves(positions)])  # (w, 1 + s, u + 8)
        seen = ops.less_equal(ops.expand_dims(positions, 1), ops.expand_dims(done, -1))
        attention = layers.MultiHeadAttention(self.heads, self.units[0] // self.heads, name="attention")
        return attention(query, found, attention_mask=seen)

    def served(self, weights: Weights, metadata: dict[str, Any]) -> ServedNetwork:
        return ServedAttention(self, weights, metadata)


def _waves(positions: Any) -> Any:
    """Where a step stands, (w, s, 8)."""
    from keras import ops

    at = ops.expand_dims(ops.cast(positions, "float32"), -1) * np.array(
        [2 * np.pi / period for period in PERIODS], np.float32
    )
    return ops.concatenate([ops.sin(at), ops.cos(at)], axis=-1)


class ServedAttention(ServedSequence):
    """Reads at most 128 finished tasks for an answer; nothing is kept of a student."""

    batch = 256

    def prepare(self, weights: Arrays) -> None:
        super().prepare(weights)
        self._step, self._query = dense(weights, "step"), dense(weights, "query")
        self._attend = {
            part: (weights[f"attention/{part}/kernel"], weights[f"attention/{part}/bias"])
            for part in ("query", "key", "value", "attention_output")
        }
        self._waves = np.array([2 * np.pi / period for period in PERIODS], np.float32)

    # What is known of the past: ids (4, n, s), scaled outcomes (n, s, 3), how many of the s steps are seen (n,).

    def past_of(self, attempts: Attempts, rows: NDArray[np.intp], places: Places) -> Any:
        windows = Windows.of(attempts, rows)
        back = np.empty(len(attempts), np.intp)
        back[windows.rows] = np.arange(len(windows.rows))
        at = back[rows]
        steps = np.maximum(windows.steps, 0)[windows.window[at]]
        return places[:, steps], self.scaled_outcomes(attempts)[steps], windows.done[at]

    def past_of_raw(self, raw: Arrays) -> Any:
        return *self.steps_of_raw(raw), raw["done"]

    def past_of_task(
        self, version_id: int, asked: TaskRequest, at: datetime, n: int, changed_at: datetime | None = None
    ) -> QueryFlow[Any]:
        """Its window, read anew."""
        tasks, before = yield from latest(asked, at, n - int(window_start(np.array(n))))
        return *self.steps_of_tasks(asked, tasks, before), np.array([len(tasks)])

    def repeated(self, past: Any, n: int) -> Any:
        return tuple(np.repeat(part, n, axis=axis) for part, axis in zip(past, (1, 0, 0), strict=True))

    def scores(self, ids: Sequence[Places | slice], inputs: Floats, past: Any) -> Floats:
        step_ids, past_outcomes, done = past
        asked = self.asked(ids, inputs)
        steps = [table[:, places] for table, places in zip(self.tables, step_ids, strict=True)]
        x = np.concatenate(
            [*steps, np.broadcast_to(past_outcomes, (2, *past_outcomes.shape))], axis=-1
        )  # (2, n, s, ...)
        x = relu(x @ self._step[0][:, None] + self._step[1][:, None])
        x = np.concatenate([np.zeros((*x.shape[:2], 1, x.shape[3]), np.float32), x], axis=2)  # nothing yet
        places = np.arange(x.shape[2])
        x = self._with_waves(x, np.broadcast_to(places, (len(done), len(places))))
        query = self._with_waves(relu(asked @ self._query[0] + self._query[1]), done)
        return self.scores_of(asked, self._attended(query, x, places[None] <= done[:, None]))

    def _with_waves(self, x: NDArray[Any], positions: NDArray[Any]) -> NDArray[Any]:
        at = positions[..., None].astype(np.float32) * self._waves
        waves = np.concatenate([np.sin(at), np.cos(at)], axis=-1)
        return np.concatenate([x, np.broadcast_to(waves, (2, *waves.shape))], axis=-1)

    def _attended(self, query: NDArray[Any], steps: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[Any]:
        """What n queries (2, n, u) find in their steps (2, n, s, u), of which (n, s) are seen; (2, n, u)."""
        (q, qb), (k, kb), (v, vb), (o, ob) = self._attend.values()
        asked = np.einsum("bnu,buhd->bnhd", query, q, optimize=True) + qb[:, None]
        keys = np.einsum("bnsu,buhd->bnshd", steps, k, optimize=True) + kb[:, None, None]
        values = np.einsum("bnsu,buhd->bnshd", steps, v, optimize=True) + vb[:, None, None]
        score = np.einsum("bnhd,bnshd->bnhs", asked, keys, optimize=True) / np.sqrt(np.float32(q.shape[-1]))
        score = np.where(seen[None, :, None], score, -np.inf)
        weight = np.exp(score - score.max(axis=-1, keepdims=True))
        weight /= weight.sum(axis=-1, keepdims=True)
        found = np.einsum("bnhs,bnshd->bnhd", weight, values, optimize=True)
        return np.asarray(np.einsum("bnhd,bhdu->bnu", found, o, optimize=True) + ob[:, None])

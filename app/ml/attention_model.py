"""Attention: the task to come looks at a student's finished tasks and takes from those that resemble it, as in SAKT
(Pandey and Karypis 2019) with distances as in AKT (Ghosh and others 2020). One Keras network for correctness, one for
time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from app.core.statements import Conversation
from app.domain.attempts import Attempts
from app.domain.tasks import Asked
from app.ml.embedding_model import SCHEDULE
from app.ml.inputs import INPUTS
from app.ml.networks.inference import Arrays, Floats, Places, ServedNetwork, dense, relu
from app.ml.networks.network import Schedule, Sizes, Weights, embeddings
from app.ml.networks.scale import OUTCOME
from app.ml.networks.sequences import (
    ID_COLUMNS,
    STEP_IDS,
    SequenceNetwork,
    Windows,
    latest,
    outcomes,
    outcomes_of,
    states_seen,
    window_start,
)
from app.ml.networks.vocabulary import IDS

if TYPE_CHECKING:
    import keras

PERIODS = (4.0, 16.0, 64.0, 256.0)  # steps: sines and cosines of a place, so that nearness can count


@dataclass(frozen=True)
class Attention(SequenceNetwork):
    """One layer of attention from the asked task to the steps; then dense layers over what it found."""

    name: ClassVar[str] = "embedding_attention"
    link: ClassVar[Any] = "exponential"
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"student": (8, 64), "topic": (4, 32), "item": (4, 32)}
    readers: ClassVar[tuple[str, ...]] = ("step", "query", "dense_1")

    schedule: Schedule = SCHEDULE
    units: tuple[int, ...] = (64, 32, 16)  # steps and queries, dense, dense
    heads: int = 4
    dropouts: tuple[float, ...] = (0.2, 0.1)

    def layers(self, sizes: Sizes, outputs: int, *, learning: bool = False) -> "keras.Model":
        import keras
        from keras import layers, ops

        tables = embeddings(sizes)
        asked = {name: keras.Input((None,), dtype="int32", name=name) for name in IDS}
        inputs, done = keras.Input((None, len(INPUTS)), name="inputs"), keras.Input((None,), dtype="int32", name="done")
        past = {f"past_{name}": keras.Input((None,), dtype="int32", name=f"past_{name}") for name in STEP_IDS}
        told = keras.Input((None, OUTCOME), name="past_outcomes")
        now = [tables[name](asked[name]) for name in IDS]  # (w, a, length) each
        whose = now[0][:, :1] * ops.ones_like(told[..., :1])
        x = layers.Concatenate()([whose, *(tables[name](past[f"past_{name}"]) for name in STEP_IDS), told])
        steps, positions = states_seen(
            layers.Dense(self.units[0], activation="relu", name="step")(x), done, past["past_topic"]
        )
        steps = layers.Concatenate()([steps, _waves(positions)])  # (w, 1 + s, u + 8)
        query = layers.Dense(self.units[0], activation="relu", name="query")(layers.Concatenate()([*now, inputs]))
        query = layers.Concatenate()([query, _waves(done)])  # (w, a, u + 8)
        seen = ops.less_equal(ops.expand_dims(positions, 1), ops.expand_dims(done, -1))
        found = layers.MultiHeadAttention(self.heads, self.units[0] // self.heads, name="attention")(
            query, steps, attention_mask=seen
        )
        x = layers.Concatenate()([*now, inputs, layers.Dropout(self.dropouts[0])(found)])
        x = layers.Dropout(self.dropouts[1])(layers.Dense(self.units[1], activation="relu", name="dense_1")(x))
        x = layers.Dense(self.units[2], activation="relu", name="dense_2")(x)
        known = {**asked, "inputs": inputs, "done": done, **past, "past_outcomes": told}
        return keras.Model(known, layers.Dense(outputs, name="score")(x))

    def served(self, weights: Weights, metadata: dict[str, Any]) -> ServedNetwork:
        return ServedAttention(self, weights, metadata)


def _waves(positions: Any) -> Any:
    """Where a step stands, (w, s, 8)."""
    from keras import ops

    at = ops.expand_dims(ops.cast(positions, "float32"), -1) * np.array(
        [2 * np.pi / period for period in PERIODS], np.float32
    )
    return ops.concatenate([ops.sin(at), ops.cos(at)], axis=-1)


class ServedAttention(ServedNetwork):
    """Reads at most 128 finished tasks for an answer; nothing is kept of a student."""

    at_once = 256

    def prepare(self, weights: Arrays) -> None:
        self._tables = [weights[f"{name}_vector/embeddings"] for name in IDS]
        self._dense = {name: dense(weights, name) for name in ("step", "query", "dense_1", "dense_2")}
        self._attend = {
            part: (weights[f"attention/{part}/kernel"], weights[f"attention/{part}/bias"])
            for part in ("query", "key", "value", "attention_output")
        }
        self._waves = np.array([2 * np.pi / period for period in PERIODS], np.float32)

    # What is known of the past: ids (4, n, s), scaled outcomes (n, s, 3), how many of the s steps are seen (n,).

    def past_of(self, attempts: Attempts, rows: NDArray[np.intp], places: Places) -> Any:
        told = self.scale.normalised_outcomes(outcomes(attempts)).astype(np.float32)
        windows = Windows.of(attempts, rows)
        order = {row: place for place, row in enumerate(windows.rows.tolist())}
        back = np.array([order[row] for row in rows.tolist()], np.intp)
        steps = np.maximum(windows.steps, 0)[windows.window[back]]
        return places[:, steps], told[steps], windows.done[back]

    def past_of_raw(self, raw: Arrays) -> Any:
        whose = np.repeat(raw["student"][:, None], raw["past_topic"].shape[1], axis=1)
        ids = np.stack([whose, *(raw[f"past_{name}"] for name in STEP_IDS)])
        return ids, self.scale.normalised_outcomes(raw["past_outcomes"]).astype(np.float32), raw["done"]

    def past_of_task(self, version_id: int, asked: Asked, at: datetime, n: int, *, keep: bool) -> Conversation[Any]:
        """Its window, read anew."""
        tasks, before = yield from latest(asked, at, n - int(window_start(np.array(n))))
        columns = [[str(asked.user_id)] * len(tasks), *([task[c] for task in tasks] for c in ID_COLUMNS)]
        ids = [[p.get(name, 0) for name in names] for p, names in zip(self._index, columns, strict=True)]
        told = self.scale.normalised_outcomes(outcomes_of(tasks, before)) if tasks else np.zeros((0, OUTCOME))
        return np.array(ids, np.intp)[:, None], told.astype(np.float32)[None], np.array([len(tasks)])

    def repeated(self, past: Any, n: int) -> Any:
        return tuple(np.repeat(part, n, axis=axis) for part, axis in zip(past, (1, 0, 0), strict=True))

    def scores(self, ids: Sequence[Places | slice], inputs: Floats, past: Any) -> Floats:
        step_ids, told, done = past
        x = self.scale.normalised(inputs).astype(np.float32)
        now = np.concatenate([table[:, places] for table, places in zip(self._tables, ids, strict=True)], axis=-1)
        now = np.concatenate([now, np.broadcast_to(x, (2, *x.shape))], axis=-1)  # (2, n, lengths + 24)
        steps = np.concatenate(
            [table[:, places] for table, places in zip(self._tables, step_ids, strict=True)], axis=-1
        )
        steps = np.concatenate([steps, np.broadcast_to(told, (2, *told.shape))], axis=-1)  # (2, n, s, ...)
        kernel, bias = self._dense["step"]
        steps = relu(steps @ kernel[:, None] + bias[:, None])
        steps = np.concatenate([np.zeros_like(steps[:, :, :1]) if steps.shape[2] else _one(steps), steps], axis=2)
        places = np.arange(steps.shape[2])
        steps = self._with_waves(steps, np.broadcast_to(places, (len(done), len(places))))
        query = self._with_waves(relu(now @ self._dense["query"][0] + self._dense["query"][1]), done)
        found = self._attended(query, steps, places[None] <= done[:, None])
        x = relu(np.concatenate([now, found], axis=-1) @ self._dense["dense_1"][0] + self._dense["dense_1"][1])
        x = relu(x @ self._dense["dense_2"][0] + self._dense["dense_2"][1])
        return np.asarray((x @ self.score_kernel + self.score_bias)[..., 0], np.float64)

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


def _one(steps: NDArray[Any]) -> NDArray[Any]:
    """The place before the first step, where there is none."""
    return np.zeros((*steps.shape[:2], 1, steps.shape[3]), np.float32)

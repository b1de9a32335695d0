"""Networks that read a student's finished tasks in order: the window of the past that they see, and its steps.

A window holds the last 64 to 128 finished tasks. It begins at a multiple of 64, so that it grows by one with every task
finished and is begun anew only now and then: reading it costs at most 128 steps however long the past.

Only finished tasks are steps. A task to come is asked beside them, so that every answer of a student, overlapping
tasks too, is read from one causal pass: `done` says how many steps it may see.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from app.core.db.statements import Row, Rows
from app.domain.attempts import Attempts, plausible
from app.domain.tasks import TaskRequest
from app.ml.features.history import Floats, History, Ints, created, up_to
from app.ml.features.inputs import LONG_AGO, SECOND
from app.ml.features.vocabulary import IDS, Vocabulary
from app.ml.networks.inference import Arrays, ServedNetwork, Singles, dense, relu
from app.ml.networks.network import ASKED, Examples, Network, TrainingSchedule
from app.ml.networks.scale import OUTCOME, Scale

WINDOW = 64  # tasks; twice as many are the longest window
Places = NDArray[np.int32]
Ids = NDArray[np.integer[Any]]
Asking = NDArray[np.intp]
STEP_IDS = IDS[1:]  # whose task a step was is known of the task that is asked
ID_COLUMNS = ("topic", "difficulty", "item_id")
ASKED_INPUTS = (*IDS, "inputs", "done")
GOLDEN_STEPS = 12
SCHEDULE = TrainingSchedule(
    batch=(96, 96, 1 << 20), steps=80, epochs=(5, 60), updates=1100, patience=5, least_gain=1e-3, rate=5e-3,
    usual_batch=500, rate_power=0.25, decay_holds=False, warm_up=20, decay=0.02, ema_horizon=(20, 1.0), clip_norm=1.0,
    most_rows=100_000, again_from=2_000, passes=2,
)  # fmt: skip


def window_start(done: Ints) -> Ints:
    """Where the window begins that answers after `done` finished tasks; all of them while they are up to 128."""
    return np.where(done <= 2 * WINDOW, 0, done // WINDOW * WINDOW - WINDOW)


@dataclass(frozen=True, slots=True)
class Windows:
    """w windows of the past, and the m tasks that are answered from them, grouped by window."""

    steps: Places  # (w, longest) rows of the attempts in the order they were finished, -1 behind the last
    length: Places  # (w,)
    rows: Asking  # (m,) the tasks asked for: rows of the attempts
    window: Places  # (m,) ascending
    done: Places  # (m,) how many steps of the window had been finished when the task was created

    @classmethod
    def of(cls, attempts: Attempts, rows: Asking) -> "Windows":
        """For these rows of the attempts; a task belongs to a past when it was finished as the other was created."""
        history = History(attempts.finished)
        known = history.before(created(attempts)[rows])
        spans = history.groups(attempts.student, attempts.student[rows], known)
        done = spans.end - spans.start
        begin = window_start(done)
        first, window = np.unique(spans.start + begin, return_inverse=True)
        order = np.argsort(window, kind="stable")
        length = np.zeros(len(first), np.intp)
        np.maximum.at(length, window, done - begin)
        place = np.arange(max(1, length.max(initial=0)))
        there = place < length[:, None]
        steps = np.where(there, spans.order[np.where(there, first[:, None] + place, 0)], -1)
        return cls(
            *(steps.astype(np.int32), length.astype(np.int32), rows[order]),
            *(window[order].astype(np.int32), (done - begin)[order].astype(np.int32)),
        )

    def __len__(self) -> int:
        return len(self.steps)

    def take(self, chosen: NDArray[np.integer]) -> "Windows":
        """Only these windows, cut to the longest of them, in this order."""
        ends = np.searchsorted(self.window, np.arange(len(self) + 1))
        sizes = ends[chosen + 1] - ends[chosen]
        picked = np.repeat(ends[chosen], sizes) + up_to(sizes)
        longest = max(1, int(self.length[chosen].max(initial=0)))
        return Windows(
            self.steps[chosen, :longest],
            self.length[chosen],
            self.rows[picked],
            np.repeat(np.arange(len(chosen), dtype=np.int32), sizes),
            self.done[picked],
        )


def outcomes(attempts: Attempts) -> Floats:
    """The outcome of each finished task, (n, 3) as in `outcome`: with its ids what a step takes in."""
    order = np.argsort(attempts.student, kind="stable")
    finished, student = attempts.finished[order], attempts.student[order]
    since = np.full(len(order), LONG_AGO)
    again = np.flatnonzero(student[1:] == student[:-1]) + 1
    since[order[again]] = finished[again] - finished[again - 1]
    return outcome(attempts.correct, attempts.seconds, since)


def outcome(correct: NDArray[np.bool_], seconds: Floats, since: Ints) -> Floats:
    """Right (1) or wrong (-1), log seconds, log seconds since the finish before; (n, 3).

    `since` is in microseconds; with no finish before, it is that of 30 days, which is also the most, as in the inputs.
    """
    gap = np.log1p(np.clip(since, 0, LONG_AGO) / SECOND)
    return np.column_stack([2.0 * correct - 1, np.log(plausible(seconds)), gap])


@dataclass(frozen=True)
class SequenceNetwork(Network):
    """A network whose examples are windows: all tasks that are asked from one window, and its steps.

    Two dense layers read what is asked and what the network knows of the past; the last two of `units` are theirs, the
    last two of `dropouts` are behind what is known and behind the first of them.
    """

    link: ClassVar[Literal["exponential"]] = "exponential"
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"student": (8, 64), "topic": (4, 32), "item": (4, 32)}
    axes: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(ASKED_INPUTS, ASKED),
        **dict.fromkeys((*(f"past_{name}" for name in STEP_IDS), "past_outcomes"), "steps"),
    }

    schedule: TrainingSchedule = SCHEDULE
    units: tuple[int, ...] = ()
    dropouts: tuple[float, ...] = ()

    @abstractmethod
    def known(self, steps: Any, asked: Any, done: Any, *, learning: bool) -> Any:
        """Of the past, for w windows: steps (w, s, lengths + 3), a tasks (w, a, lengths + 26), of which each may see
        the first `done` (w, a) steps; (w, a, u)."""

    def hidden(self, inputs: dict[str, Any], vectors: dict[str, Any], *, learning: bool) -> Any:
        from keras import layers, ops

        now = [vectors[name](inputs[name]) for name in IDS]  # (w, a, length) each
        past_outcomes = inputs["past_outcomes"]
        whose = now[0][:, :1] * ops.ones_like(past_outcomes[..., :1])  # (w, s, length)
        steps = layers.Concatenate()(
            [whose, *(vectors[name](inputs[f"past_{name}"]) for name in STEP_IDS), past_outcomes]
        )
        asked = layers.Concatenate()([*now, inputs["inputs"]])
        known = layers.Dropout(self.dropouts[-2])(self.known(steps, asked, inputs["done"], learning=learning))
        x = layers.Dense(self.units[-2], activation="relu", name="dense_1")(layers.Concatenate()([asked, known]))
        x = layers.Dropout(self.dropouts[-1])(x)
        return layers.Dense(self.units[-1], activation="relu", name="dense_2")(x)

    def inputs(self) -> dict[str, tuple[tuple[int | None, ...], str]]:
        steps = {f"past_{name}": ((None,), "int32") for name in STEP_IDS}
        return {**super().inputs(), "done": ((), "int32"), **steps, "past_outcomes": ((None, OUTCOME), "float32")}

    def examples(
        self, attempts: Attempts, rows: Asking, vocabulary: Vocabulary, inputs: Singles, scale: Scale
    ) -> Examples:
        windows, ids = Windows.of(attempts, rows), vocabulary.places(attempts)
        tasks = np.bincount(windows.window, minlength=len(windows))
        place = up_to(tasks)  # of each task among those of its window
        asked = np.full((len(windows), max(1, int(tasks.max(initial=1)))), -1, np.intp)
        done = np.zeros(asked.shape, np.int32)
        asked[windows.window, place], done[windows.window, place] = windows.rows, windows.done
        steps = np.maximum(windows.steps, 0)
        columns: dict[str, NDArray[Any]] = {name: each[asked] for name, each in zip(IDS, ids, strict=True)}
        columns["student"] = np.repeat(columns["student"][:, :1], asked.shape[1], axis=1)  # of padding too
        columns["inputs"] = scale.singles(inputs, np.arange(len(inputs)))[asked]
        columns["done"] = done
        columns |= {f"past_{name}": ids[place][steps] for place, name in enumerate(STEP_IDS, start=1)}
        columns["past_outcomes"] = scale.normalised_outcomes(outcomes(attempts)).astype(np.float32)[steps]
        lengths = {"asked": tasks.astype(np.int32), "steps": np.maximum(windows.length, 1)}
        return Examples(columns, asked, lengths)

    def one_task(self, scaled: dict[str, Any]) -> dict[str, Any]:
        from keras import ops

        return {n: ops.expand_dims(x, 1) if n in ASKED_INPUTS else x for n, x in scaled.items()}

    def golden(self, vocabulary: Vocabulary, n: int = 32) -> dict[str, NDArray[Any]]:
        counts = dict(zip(IDS, vocabulary.counts(), strict=True))
        random = np.random.default_rng(1)
        steps = {f"past_{k}": random.integers(0, counts[k] + 1, (n, GOLDEN_STEPS)).astype(np.int32) for k in STEP_IDS}
        past_outcomes = outcome(
            random.random(n * GOLDEN_STEPS) < 0.5,
            random.lognormal(3, 1.5, n * GOLDEN_STEPS).clip(0.1, 5000),
            (random.lognormal(12, 4, n * GOLDEN_STEPS) * SECOND).clip(0, LONG_AGO).astype(np.int64),
        )
        done = random.integers(0, GOLDEN_STEPS + 1, n).astype(np.int32)
        return {
            **super().golden(vocabulary, n),
            "done": done,
            **steps,
            "past_outcomes": past_outcomes.reshape(n, GOLDEN_STEPS, OUTCOME).astype(np.float32),
        }


def states_seen(x: Any) -> tuple[Any, Any]:
    """What an asked task may see of what was made of the steps, x (w, s, u): nothing yet, and then all steps.

    Returns (w, 1 + s, u) and its positions 0 ... s, (w, 1 + s), to compare with `done`.
    """
    from keras import ops

    x = ops.concatenate([ops.zeros_like(x[:, :1]), x], 1)
    return x, ops.cumsum(ops.ones_like(x[..., 0], dtype="int32"), axis=1) - 1


def outcomes_of(tasks: Rows, before: Row | None) -> Floats:
    """As `outcomes`, of tasks as the database tells them."""
    finished = [task["completed_at"] for task in tasks]
    earlier = [before["completed_at"] if before else None, *finished[:-1]]
    since = [
        (now - then) // timedelta(microseconds=1) if then else LONG_AGO
        for now, then in zip(finished, earlier, strict=True)
    ]
    correct, seconds = ([task[column] for task in tasks] for column in ("is_correct", "actual_time_seconds"))
    return outcome(np.array(correct), np.array(seconds, np.float64), np.array(since))


class ServedSequence(ServedNetwork):
    """What the networks above have in common without TensorFlow."""

    def prepare(self, weights: Arrays) -> None:
        self._first, self._second = dense(weights, "dense_1"), dense(weights, "dense_2")

    def scaled_outcomes(self, attempts: Attempts) -> Singles:
        """Scaled outcomes of n finished tasks, (n, 3)."""
        return self.scale.normalised_outcomes(outcomes(attempts)).astype(np.float32)

    def steps_of_raw(self, raw: Arrays) -> tuple[Ids, Singles]:
        """The same from the Keras models' inputs."""
        whose = np.repeat(raw["student"][:, None], raw["past_topic"].shape[1], axis=1)
        ids = np.stack([whose, *(raw[f"past_{name}"] for name in STEP_IDS)])
        return ids, self.scale.normalised_outcomes(raw["past_outcomes"]).astype(np.float32)

    def steps_of_tasks(self, asked: TaskRequest, tasks: Rows, before: Row | None) -> tuple[Ids, Singles]:
        """The same of a student's s tasks, in order, as the database tells them: (4, 1, s) and (1, s, 3)."""
        columns = [[str(asked.user_id)] * len(tasks), *([task[c] for task in tasks] for c in ID_COLUMNS)]
        ids = [[index.get(name, 0) for name in names] for index, names in zip(self.index, columns, strict=True)]
        past = self.scale.normalised_outcomes(outcomes_of(tasks, before)) if tasks else np.zeros((0, OUTCOME))
        return np.array(ids, np.int32)[:, None], past.astype(np.float32)[None]

    def scores_of(self, asked: Singles, known: Singles) -> Floats:
        """From what is asked (2, n, lengths + 26) and what is known of the past (2, n, u), (2, n)."""
        x = relu(np.concatenate([asked, known], axis=-1) @ self._first[0] + self._first[1])
        return self.scored(relu(x @ self._second[0] + self._second[1]))

"""A network from a notebook: plain arrays in, a probability and seconds out. No database, no service."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.domain.attempts import DIFFICULTIES, Attempts
from app.domain.kinds import NETWORKS
from app.ml.lnirt.model import ServedLnirt, fit_lnirt
from app.ml.networks.base_inputs import BaseInputs
from app.ml.networks.checkpoint import FittedNetwork
from app.ml.networks.fit import checked, fit, network_inputs, untrained
from app.ml.registry import network, print_progress

if TYPE_CHECKING:
    import keras

Names = Sequence[Any] | NDArray[Any]
BASE_PREFIX = "base-"  # of the files of the LNIRT that it corrects
TASKS_FILE = "tasks.npz"  # beside the files of a version: what the students had done
SECOND = 1_000_000  # microseconds
LATEST = 253_402_300_800  # seconds since 1970: the year 10000; milliseconds lie beyond it
COLUMNS = ("student", "topic", "difficulty", "item", "started", "finished", "correct", "seconds")


class TaskPredictionModel:
    """How likely a student is to get a task right, and how long it takes them, learnt from finished tasks.

    One position of all arrays is one task. `timestamps` are when tasks were created, in seconds since 1970; a task
    counts as past from its timestamp plus its time on. Nothing is clipped.

        model = TaskPredictionModel()
        model.train(user_ids, topics, difficulties, is_correct, actual_time_seconds, timestamps)
        probability, seconds = model.predict(["ada"], ["Calculus"], ["medium"])
    """

    def __init__(self, kind: str = "embedding_lstm", **settings: Any) -> None:
        """`settings` are fields of the network or its schedule, such as `units`, `dropouts`, `patience` or `rate`."""
        if kind not in NETWORKS:
            raise ValueError(f"expected a kind among {', '.join(NETWORKS)}, got {kind}")
        self.network = network(kind, settings)
        self._fitted: FittedNetwork | None = None
        self._tasks: Attempts | None = None

    def build(
        self,
        user_ids: Names,
        topics: Names,
        difficulties: Names,
        is_correct: ArrayLike,
        actual_time_seconds: ArrayLike,
        timestamps: ArrayLike,
    ) -> "TaskPredictionModel":
        """Make both networks for these names, untrained: they answer what LNIRT says, fitted to these tasks.

        Raises ValueError for arrays of different lengths, unknown difficulties, times that are not above 0, or fewer
        than 8 tasks.
        """
        tasks = _finished(user_ids, topics, difficulties, is_correct, actual_time_seconds, timestamps)
        base = fit_lnirt(checked(tasks)).served()
        self._fitted = replace(
            untrained(self.network, tasks, network_inputs(tasks, base), len(tasks)), base=BaseInputs(base)
        )
        self._tasks = tasks
        return self

    def train(
        self,
        user_ids: Names,
        topics: Names,
        difficulties: Names,
        is_correct: ArrayLike,
        actual_time_seconds: ArrayLike,
        timestamps: ArrayLike,
        *,
        epochs: int | None = None,
        verbose: bool = False,
    ) -> dict[str, Any]:
        """Train anew on these tasks; returns scores on the newest of them, by which the number of epochs was chosen.

        `epochs` is the most there may be. Raises ValueError as `build` does.
        """
        if epochs is not None and epochs < 1:
            raise ValueError(f"expected at least 1 epoch, got {epochs}")
        tasks = _finished(user_ids, topics, difficulties, is_correct, actual_time_seconds, timestamps)
        self._fitted, self._tasks = (
            fit(self.network, tasks, epochs=epochs, progress=print_progress if verbose else None),
            tasks,
        )
        return dict(self._fitted.report)

    def predict(
        self, user_ids: Names, topics: Names, difficulties: Names, timestamps: ArrayLike | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probability of a right answer, and seconds, of n tasks to come, (n,) each.

        A student's past are their tasks of the training that were finished by the timestamp; without `timestamps` it is
        the moment after the last of all. Students and topics that are new are answered too. Raises ValueError as
        `build` does, and before anything was trained, built or loaded.
        """
        fitted, past = self._known()
        n = len(user_ids)
        at = np.full(n, past.finished.max() / SECOND + 1) if timestamps is None else timestamps
        asked = _tasks(user_ids, topics, difficulties, np.zeros(n, bool), np.ones(n), at)
        said = fitted.served().answers(_after(past, asked), np.arange(len(past), len(past) + n))
        return said.probability, said.seconds

    @property
    def correctness_model(self) -> "keras.Model":
        """The compiled Keras model; it takes raw inputs by name, as `smartstudy inputs` prints them."""
        return self._known()[0].model("correctness")

    @property
    def time_model(self) -> "keras.Model":
        """The same for the time."""
        return self._known()[0].model("time")

    def save(self, folder: str | Path) -> None:
        """Write `correctness_model.keras`, `time_model.keras`, `metadata.json` and what the students had done.

        Whoever has the folder has the students' results: keep it as you keep those.
        """
        fitted, tasks = self._known()
        fitted.save(Path(folder))
        if fitted.base:
            fitted.base.model.save(Path(folder), BASE_PREFIX)
        names = {name: np.array(getattr(tasks, name), str) for name in ("students", "topics", "items")}
        columns = {name: getattr(tasks, name) for name in COLUMNS}
        np.savez(Path(folder) / TASKS_FILE, allow_pickle=False, **names, **columns)

    @classmethod
    def load(cls, folder: str | Path) -> "TaskPredictionModel":
        """What `save` wrote; raises ValueError or OSError for anything else."""
        folder = Path(folder)
        kept = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        model = cls(str(kept["kind"]))
        base = BaseInputs(ServedLnirt.load(folder, BASE_PREFIX))
        model._fitted = replace(FittedNetwork.load(model.network, folder), base=base)
        model.network = model._fitted.network
        with np.load(folder / TASKS_FILE, allow_pickle=False) as arrays:
            students, topics, items = (tuple(arrays[name].tolist()) for name in ("students", "topics", "items"))
            model._tasks = Attempts(students, topics, items, *(arrays[name] for name in COLUMNS))
        return model

    def _known(self) -> tuple[FittedNetwork, Attempts]:
        if self._fitted is None or self._tasks is None:
            raise ValueError("expected a model that was trained, built or loaded before")
        return self._fitted, self._tasks


def _finished(*arrays: Any) -> Attempts:
    """Tasks to learn from, ordered by the moment of completion."""
    tasks = _tasks(*arrays)
    return tasks.take(np.argsort(tasks.finished, kind="stable"))


def _tasks(
    user_ids: Names, topics: Names, difficulties: Names, correct: ArrayLike, seconds: ArrayLike, timestamps: ArrayLike
) -> Attempts:
    """The arrays as columns, in their order."""
    right, time, at = np.asarray(correct), np.asarray(seconds, np.float64), np.asarray(timestamps, np.float64)
    _check(user_ids, topics, difficulties, right, time, at)
    started = np.rint(at * SECOND).astype(np.int64)
    finished = np.maximum(started + np.rint(time * SECOND).astype(np.int64), started + 1)
    (students, student), (named, topic) = _numbered((), user_ids), _numbered((), topics)
    level = np.array([DIFFICULTIES.index(str(each)) for each in difficulties], np.int32)
    item = np.full(len(level), -1, np.int32)
    return Attempts(students, named, (), student, topic, level, item, started, finished, right.astype(bool), time)


def _check(
    user_ids: Names, topics: Names, difficulties: Names, right: NDArray[Any], time: NDArray[Any], at: NDArray[Any]
) -> None:
    """Raise ValueError, saying what was expected, for arrays that are no tasks."""
    lengths = [len(user_ids), len(topics), len(difficulties), *(np.size(each) for each in (right, time, at))]
    if len(set(lengths)) > 1 or any(each.ndim != 1 for each in (right, time, at)):
        raise ValueError(f"expected arrays of one length, got {', '.join(map(str, lengths))}")
    if unknown := sorted({str(each) for each in difficulties} - set(DIFFICULTIES)):
        raise ValueError(f"expected difficulties among {', '.join(DIFFICULTIES)}, got {unknown[0]}")
    if not np.isin(right, (0, 1)).all():
        raise ValueError("expected right or wrong (1 or 0, True or False) for every task")
    if (wrong := ~(np.isfinite(time) & (time > 0))).any():
        raise ValueError(f"expected times above 0 seconds, got {time[wrong][0]}")
    if (wrong := ~((at >= 0) & (at < LATEST))).any():
        raise ValueError(f"expected timestamps in seconds since 1970, got {at[wrong][0]}")


def _numbered(known: tuple[str, ...], names: Names) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """All names, each once, those known first, and the position of each of n names among them."""
    position = {name: place for place, name in enumerate(known)}
    places = [position.setdefault(str(name), len(position)) for name in names]
    return tuple(position), np.array(places, np.int32)


def _after(past: Attempts, asked: Attempts) -> Attempts:
    """Behind the finished tasks those that are asked, which end after all others: none of them is anybody's past."""
    students, student = _numbered(past.students, [asked.students[place] for place in asked.student])
    topics, topic = _numbered(past.topics, [asked.topics[place] for place in asked.topic])
    end = max(past.finished.max(), asked.started.max(initial=0)) + 1
    own = {name: getattr(asked, name) for name in COLUMNS}
    own |= {"student": student, "topic": topic, "finished": np.full(len(asked), end)}
    return Attempts(
        students, topics, past.items, *(np.concatenate([getattr(past, name), own[name]]) for name in COLUMNS)
    )

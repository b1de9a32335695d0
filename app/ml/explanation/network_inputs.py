"""What a network was told of one task, as its Keras files take it: for whoever opens them in a notebook.

The version is the one that predicted the task, while its files are kept, or the one of its kind that serves now. All
numbers are of the moment the task was created, and raw: the Keras models scale them themselves.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.core.db.statements import run_sync
from app.crud import practice_tasks
from app.crud.attempts import of_rows
from app.crud.student_sequences import latest
from app.domain.errors import NotKept, TaskNotFound
from app.domain.kinds import NETWORKS
from app.domain.tasks import Task
from app.ml.explanation.explainer import kept_inputs, version_for
from app.ml.features.history import Floats
from app.ml.features.inputs import NETWORK_INPUTS, inputs_of, known_before
from app.ml.features.vocabulary import IDS
from app.ml.networks.inference import ServedNetwork
from app.ml.networks.scale import OUTCOME
from app.ml.networks.sequences import ID_COLUMNS, STEP_IDS, outcomes_of, window_start
from app.ml.registry import BY_NAME
from app.ml.serving.model_order import Loaded, ServingModels

Arrays = dict[str, NDArray[Any]]
WHOLE_PAST = 2**31 - 2  # tasks: more than anybody does
NAMES = ", ".join(NETWORKS)


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """Of one task: a version, what its networks take, first axis 1, and what it says to that, not clipped."""

    loaded: Loaded
    folder: Path  # its files, on this machine
    task: Task
    inputs: Arrays  # in the order of metadata.json's `keras_inputs`
    probability: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON. `task` holds what the API shows of the task, which may have come from another version or kind."""
        return {
            "version": self.loaded.version.id,
            "kind": self.loaded.kind.name,
            "folder": str(self.folder.absolute()),
            "inputs": {name: array.tolist() for name, array in self.inputs.items()},
            "answer": {"correctness_prob": self.probability, "estimated_time_seconds": self.seconds},
            "task": {
                "correctness_prob": self.task.correctness_prob,
                "estimated_time_seconds": self.task.estimated_time_seconds,
                "model_version": self.task.model_version,
                "model_version_id": self.task.model_version_id,
                "is_correct": self.task.is_correct,
                "actual_time_seconds": self.task.actual_time_seconds,
            },
        }


def task_inputs(db: Session, serving: ServingModels, task_id: UUID, kind: str | None = None) -> TaskInputs:
    """What the networks of this kind (none: of the kind that predicted it, or else the first network that serves) take.

    Raises:
        TaskNotFound: there is no such task.
        NotKept: it was imported and no kind was named; the kind is no network, or has no version whose files are kept.
    """
    row = practice_tasks.GET.first_sync(db, id=task_id, owner=None, school=None, key=None)
    if row is None:
        raise TaskNotFound(f"There is no task {task_id}.")
    task = practice_tasks.task_of(row)
    kind = kind or _kind_of(serving, task)
    if kind not in BY_NAME:
        raise NotKept(f"There is no kind {kind}; networks are {NAMES}.")
    loaded = version_for(db, serving, task, BY_NAME[kind])  # it may stand in: `version` tells which it is
    if loaded is None:
        raise NotKept(f"No version of {kind} serves; `smartstudy versions` lists what has been trained.")
    model = loaded.model
    if not isinstance(model, ServedNetwork):
        raise NotKept(f"{loaded.kind.name} is no network, so it has no Keras files; networks are {NAMES}.")
    inputs = kept_inputs(db, task)
    raw = _raw_inputs(db, model, task, _inputs_anew(db, model, task) if inputs is None else inputs)
    said = model.answers_of(raw)
    return TaskInputs(
        loaded, serving.store.fetched(loaded.version), task, raw, float(said.probability[0]), float(said.seconds[0])
    )


def _kind_of(serving: ServingModels, task: Task) -> str:
    """The network that predicted the task; the first that serves, where LNIRT or the prior did."""
    if task.model_version is None:
        raise NotKept(f"This task was imported; nothing was predicted for it. Name a kind with --kind: {NAMES}.")
    if task.model_version in NETWORKS:
        return task.model_version
    serve = (each.kind.name for each in serving.model_order.models if each.kind.name in NETWORKS)
    return next(serve, next(iter(NETWORKS)))


def _inputs_anew(db: Session, model: ServedNetwork, task: Task) -> Floats:
    """The inputs, worked out from what the student had finished when the task was created, (26,)."""
    past, _ = run_sync(latest(task.request, task.created_at, WHOLE_PAST), db)
    student = str(task.user_id)
    done = [
        (student, *(row[column] for column in ID_COLUMNS), row["completed_at"] - timedelta(microseconds=1),
         *(row[column] for column in ("completed_at", "is_correct", "actual_time_seconds")))
        for row in past
    ]  # fmt: skip
    now = (student, task.topic, task.difficulty, task.item_id, task.created_at, task.created_at, False, 1.0)
    attempts = of_rows([*done, now])
    base = model.corrected().of_attempts(attempts, np.array([len(done)]))[0]
    return np.concatenate([inputs_of(known_before(attempts))[-1], base])


def _raw_inputs(db: Session, model: ServedNetwork, task: Task, inputs: Floats) -> Arrays:
    """By name, first axis 1; `inputs` (26,) as in NETWORK_INPUTS."""
    names = (str(task.user_id), task.topic, task.difficulty, task.item_id)
    places = [index.get(name, 0) for index, name in zip(model.index, names, strict=True)]  # 0 = unknown
    found: Arrays = {name: np.array([place], np.int32) for name, place in zip(IDS, places, strict=True)}
    found["inputs"] = inputs[None]
    wanted = [each["name"] for each in model.metadata["keras_inputs"]]
    if "done" in wanted:
        found |= _window(db, model, task, inputs)
    return {name: found[name] for name in wanted}


def _window(db: Session, model: ServedNetwork, task: Task, inputs: Floats) -> Arrays:
    """The finished tasks that the network saw, s of them, as steps; without any, one that it is told not to look at."""
    n = round(float(inputs[NETWORK_INPUTS.index("overall_task_count")] * 100))
    tasks, before = run_sync(latest(task.request, task.created_at, n - int(window_start(np.array(n)))), db)
    index = dict(zip(IDS, model.index, strict=True))
    steps: Arrays = {
        f"past_{name}": np.array([[index[name].get(row[column], 0) for row in tasks] or [0]], np.int32)
        for name, column in zip(STEP_IDS, ID_COLUMNS, strict=True)
    }
    outcomes = outcomes_of(tasks, before) if tasks else np.zeros((1, OUTCOME))
    return {**steps, "past_outcomes": outcomes[None], "done": np.array([len(tasks)], np.int32)}

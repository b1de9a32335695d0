"""What a network was told of one task, as its Keras files take it: for whoever opens them in a notebook.

The version is the one that predicted the task, while its files are kept, or the one of its kind that serves now. All
numbers are of the moment the task was created, and raw: the Keras models scale them themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, Rows, run_sync
from app.core.settings import settings
from app.crud import model_versions, practice_tasks, student_sequences, task_features
from app.crud.attempts import of_rows
from app.crud.student_sequences import latest
from app.domain.errors import NotKept, TaskNotFound, VersionNotFound
from app.domain.kinds import NETWORKS
from app.domain.tasks import Task, TaskRequest
from app.ml.features.history import Floats
from app.ml.features.inputs import NETWORK_INPUTS, inputs_of, known_before
from app.ml.features.vocabulary import IDS
from app.ml.networks.inference import ServedNetwork
from app.ml.networks.scale import OUTCOME
from app.ml.networks.sequences import ID_COLUMNS, STEP_IDS, outcomes_of, window_start
from app.ml.registry import BY_NAME
from app.ml.serving.model_order import UNLOADABLE, Loaded, ServingModels, load

Arrays = dict[str, NDArray[Any]]
WHOLE_PAST = 2**31 - 1  # tasks: more than anybody does


@dataclass(frozen=True, slots=True)
class TaskInputs:
    """Of one task: a version, what its networks take, first axis 1, and what it says to that, not clipped."""

    loaded: Loaded
    task: Task
    inputs: Arrays  # in the order of metadata.json's `keras_inputs`
    probability: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON. `task` holds what the API shows of the task, which may have come from another version or kind."""
        return {
            "version": self.loaded.version.id,
            "kind": self.loaded.kind.name,
            "folder": str((settings().model_dir / self.loaded.version.folder).absolute()),
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
    rows = run_sync(_one_task(task_id), db)
    if not rows:
        raise TaskNotFound(f"There is no task {task_id}.")
    task = practice_tasks.task_of(rows[0])
    loaded = _version(db, serving, task, kind or _kind_of(serving, task))
    model = loaded.model
    if not isinstance(model, ServedNetwork):
        raise NotKept(f"{loaded.kind.name} is no network, so it has no Keras files; networks are {_networks()}.")
    asked = TaskRequest(task.user_id, task.topic, task.difficulty, task.item_id)
    kept = task_features.of_task(db, task.id)
    inputs = run_sync(_inputs(task, model) if kept is None or len(kept) != len(NETWORK_INPUTS) else _as_kept(kept), db)
    raw = run_sync(raw_inputs(model, asked, inputs, task), db)
    said = model.answers_of(raw)
    return TaskInputs(loaded, task, raw, float(said.probability[0]), float(said.seconds[0]))


def raw_inputs(model: ServedNetwork, asked: TaskRequest, inputs: Floats, task: Task) -> QueryFlow[Arrays]:
    """By name, first axis 1; `inputs` (26,) as in NETWORK_INPUTS."""
    found: Arrays = {name: np.array([place], np.int32) for name, place in zip(IDS, _places(model, asked), strict=True)}
    found["inputs"] = inputs[None]
    wanted = [each["name"] for each in model.metadata["keras_inputs"]]
    if "done" in wanted:
        found |= yield from _window(model, asked, inputs, task)
    return {name: found[name] for name in wanted}


def _one_task(task_id: UUID) -> QueryFlow[Rows]:
    return (yield practice_tasks.GET, {"id": task_id, "owner": None})


def _networks() -> str:
    return ", ".join(NETWORKS)


def _kind_of(serving: ServingModels, task: Task) -> str:
    """The network that predicted the task; the first that serves, where LNIRT or the prior did."""
    if task.model_version is None:
        raise NotKept(f"This task was imported; nothing was predicted for it. Name a kind with --kind: {_networks()}.")
    if task.model_version in NETWORKS:
        return task.model_version
    return next(
        (each.kind.name for each in serving.model_order.models if each.kind.name in NETWORKS), next(iter(NETWORKS))
    )


def _version(db: Session, serving: ServingModels, task: Task, kind: str) -> Loaded:
    """The version of this kind that predicted the task, or else the one that serves now."""
    if kind not in BY_NAME:
        raise NotKept(f"There is no kind {kind}; networks are {_networks()}.")
    now, spec = serving.model_order.of(kind), BY_NAME[kind]
    if task.model_version == spec.wire_name and task.model_version_id not in (None, now and now.version.id):
        try:
            return load(settings().model_dir, spec, model_versions.get(db, int(task.model_version_id or 0)))
        except (*UNLOADABLE, VersionNotFound):
            pass  # the one that serves stands in: `version` tells which it is
    if now is None:
        raise NotKept(f"No version of {kind} serves; `smartstudy versions` lists what has been trained.")
    return now


def _as_kept(kept: Sequence[float]) -> QueryFlow[Floats]:
    return np.asarray(kept, np.float64)
    yield  # what makes it a query flow


def _inputs(task: Task, model: ServedNetwork) -> QueryFlow[Floats]:
    """The inputs, worked out anew from what the student had finished by then, (26,)."""
    whose = {"user_id": task.user_id, "through": task.created_at, "most": WHOLE_PAST}
    past = list((yield student_sequences.LATEST, whose))[::-1]
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


def _places(model: ServedNetwork, asked: TaskRequest) -> list[int]:
    """Of the task's four ids in the embeddings; 0 = unknown."""
    names = (str(asked.user_id), asked.topic, asked.difficulty, asked.item_id)
    return [_index(model, kind).get(name or "", 0) for kind, name in zip(IDS, names, strict=True)]


def _index(model: ServedNetwork, kind: str) -> dict[str, int]:
    return {name: place for place, name in enumerate(getattr(model.vocabulary, kind), start=1)}


def _window(model: ServedNetwork, asked: TaskRequest, inputs: Floats, task: Task) -> QueryFlow[Arrays]:
    """The finished tasks that the network saw, s of them, as steps; without any, one that it is told not to look at."""
    n = round(float(inputs[NETWORK_INPUTS.index("overall_task_count")] * 100))
    tasks, before = yield from latest(asked, task.created_at, n - int(window_start(np.array(n))))
    indices = [_index(model, kind) for kind in STEP_IDS]
    steps: Arrays = {
        f"past_{kind}": np.array([[index.get(row[column] or "", 0) for row in tasks] or [0]], np.int32)
        for kind, index, column in zip(STEP_IDS, indices, ID_COLUMNS, strict=True)
    }
    told = outcomes_of(tasks, before) if tasks else np.zeros((1, OUTCOME))
    return {**steps, "past_outcomes": told[None], "done": np.array([len(tasks)], np.int32)}

"""What moved a prediction up or down against the average student: of a network the eleven features, of LNIRT the parts.

The version that predicted is asked again for every mixture of the student's features and the average student's (2^11
of them, in one batch); all else it knew stays as it was. Each feature's share of the difference is its Shapley value
(app/ml/shapley.py has the sources), so the eleven add up exactly to the prediction less the average student's.

LNIRT adds up student, topic, difficulty and exercise. It is asked again for every coalition of these (2^4), the others
taken as unknown (app/ml/lnirt/parts.py), so theirs add up to the prediction less that for a student and a task of which
nothing is known: the average student on the average task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, run_sync
from app.core.settings import settings
from app.crud import model_versions, task_features
from app.domain.errors import NotKept
from app.domain.kinds import BASE, NETWORKS
from app.domain.shares import ALL, Share, of_contributions
from app.domain.tasks import Contributions, Task, TaskRequest
from app.ml import shapley
from app.ml.answers import Answer, Answers, Coalitions, parts_of, plain_answers
from app.ml.calibration.time_limits import USUAL, Limits
from app.ml.calibration.time_limits import limits as as_set
from app.ml.explanation.text import (
    Reader,
    effect,
    of_feature,
    of_part,
    percent,
    summary,
    summary_of_parts,
    without_numbers,
)
from app.ml.features.history import COUNT_UNITS, FEATURES, SECONDS_UNIT, UNKNOWN_RATE, UNKNOWN_SECONDS
from app.ml.features.inputs import NETWORK_INPUTS
from app.ml.prior import PRIOR
from app.ml.registry import BY_NAME, MODELS
from app.ml.serving import artifacts
from app.ml.serving.model_order import Loaded, ServingModels, load
from app.ml.serving.pool import in_words, pool
from app.schemas.explanation import Explanation, FeatureEffect, Foreseen, KindAnswer, PartEffect

Floats = NDArray[np.float64]
N = len(FEATURES)
LNIRT = BY_NAME[BASE].wire_name
NOTICED = Foreseen(correctness_prob=0.005, estimated_time_seconds=0.5)  # by so much numbers look different on a page
COUNTS = dict(zip((name for name in FEATURES if name.endswith("_count")), COUNT_UNITS.tolist(), strict=True))
UNITS = np.array([COUNTS.get(name, SECONDS_UNIT if name.endswith("_time") else 1.0) for name in FEATURES])
NEWCOMER = np.array(
    [
        0.0 if name in COUNTS else UNKNOWN_SECONDS / SECONDS_UNIT if name.endswith("_time") else UNKNOWN_RATE
        for name in FEATURES
    ]
)


@runtime_checkable
class Explainable(Protocol):
    """A model whose answers depend on the inputs (app/ml/features/inputs.py)."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Holds `average`: the mean inputs of the tasks it was fitted on, (26,) as in NETWORK_INPUTS."""
        ...

    def varied(self, version_id: int, asked: TaskRequest, inputs: Floats, at: datetime) -> QueryFlow[Answers]:
        """Answers for m variations of one task, not clipped: `inputs` (m, 26) as in NETWORK_INPUTS, all else held.

        The last row is the task as it was. It was created `at` that moment: what the model knows beyond the inputs
        (the state of a sequence) is to be that of then, looked up once and the same for all m.
        """
        ...


@runtime_checkable
class Retrospective(Protocol):
    """A model that can say what it would have answered at an earlier moment."""

    def answer_then(
        self, version_id: int, asked: TaskRequest, inputs: Floats | None, at: datetime
    ) -> QueryFlow[Answer]: ...


@runtime_checkable
class InParts(Protocol):
    """A model that adds its prediction up from the parts of a task: LNIRT."""

    def coalitions_then(self, asked: TaskRequest, at: datetime) -> QueryFlow[Coalitions]: ...


@runtime_checkable
class FromInputs(Protocol):
    """A model that knows nothing of a task but its names and inputs: V2."""

    metadata: dict[str, Any]

    def predict(
        self,
        students: Sequence[str],
        topics: Sequence[str],
        difficulties: Sequence[str],
        items: Sequence[str | None],
        inputs: Floats,
    ) -> Answers: ...


def explanation(db: Session, serving: ServingModels, task: Task, *, to_student: bool) -> Explanation:
    """Why the task was predicted as it was.

    Raises:
        NotKept: it was imported, or what it was made from or who made it is not kept.
    """
    said, features = _foreseen_at_first(task), task_features.of_task(db, task.id)
    reader = Reader(to_student)
    if task.model_version == PRIOR.model_version:
        return _without_numbers(task, said, kind_answers(db, serving, task, features, None), reader)
    if task.model_version == LNIRT:
        loaded = _lnirt(db, serving, task)
        kinds = kind_answers(db, serving, task, features, loaded)
        found = run_sync(_coalitions(task, loaded), db)
        return _told_parts(task, loaded, found, kinds, reader) if found else _without_numbers(task, said, kinds, reader)
    loaded = _who_explains(db, serving, task)
    if features is None or len(features) != len(NETWORK_INPUTS):
        raise NotKept("What this prediction was made from was not kept at the time, so it can't be explained.")
    kinds = kind_answers(db, serving, task, features, loaded)
    asked = TaskRequest(task.user_id, task.topic, task.difficulty, task.item_id)
    own, (average, remark) = np.asarray(features), average_inputs(loaded)
    answers = run_sync(_varied(loaded, asked, shapley.mixed(own, average, N), task.created_at), db)
    answers = _with_others(answers, kinds)
    return _told(
        task,
        loaded.version.id,
        Mixtures(own, average, _clipped(answers, serving.model_order.limits), remark),
        kinds,
        reader,
    )


def kind_answers(
    db: Session, serving: ServingModels, task: Task, features: Sequence[float] | None, predicted: Loaded | None
) -> list[KindAnswer]:
    """What each kind that serves says of the task, from what was known when it was created.

    Of the kind that predicted the task, the version `predicted` is asked; none where no version did. Kinds that can't
    be asked about an earlier moment are left out, and networks where the task's inputs are not kept.
    """
    asked = TaskRequest(task.user_id, task.topic, task.difficulty, task.item_id)
    inputs, found = None if features is None or len(features) != len(NETWORK_INPUTS) else np.asarray(features), []
    for now in serving.model_order.models:
        answered = predicted is not None and predicted.kind.name == now.kind.name
        loaded = predicted if predicted is not None and answered else now
        if not isinstance(loaded.model, Retrospective) or (inputs is None and loaded.kind.name in NETWORKS):
            continue
        said = run_sync(loaded.model.answer_then(loaded.version.id, asked, inputs, task.created_at), db)
        share = _share(task, loaded.kind.name, answered)
        if said.is_finite():
            found.append(
                KindAnswer(
                    kind=loaded.kind.name, version_id=loaded.version.id, answered=answered,
                    chance_share=share.chance, time_share=share.time,
                    correctness_prob=said.probability, estimated_time_seconds=said.seconds,
                )
            )  # fmt: skip
    return found


def _share(task: Task, kind: str, answered: bool) -> Share:
    """What the kind had to say of this task."""
    if task.contributions is None:
        return ALL if answered else Share()
    return Share(*task.contributions.get(kind, (0.0, 0.0)))


def _with_others(answers: Answers, kinds: Sequence[KindAnswer]) -> Answers:
    """A network's answers to m variations of the task, together with what the other kinds said of it as it was."""
    parts = list[tuple[Answers, Share]]()
    for each in kinds:
        share = Share(each.chance_share, each.time_share)
        if share.has_part:
            p, seconds = (np.full(len(answers), x) for x in (each.correctness_prob, each.estimated_time_seconds))
            parts.append((answers if each.answered else plain_answers(p, seconds), share))
    return pool(parts) if any(each.answered for each in kinds) and len(parts) > 1 else answers


def _foreseen_at_first(task: Task) -> Foreseen:
    if task.correctness_prob is None or task.estimated_time_seconds is None:
        raise NotKept("This task was imported; nothing was predicted for it.")
    return Foreseen(correctness_prob=task.correctness_prob, estimated_time_seconds=task.estimated_time_seconds)


def _who_explains(db: Session, serving: ServingModels, task: Task) -> Loaded:
    """The version that predicted, or the one of its kind that serves now."""
    kind = next((kind for kind in MODELS if kind.wire_name == task.model_version), None)
    if kind is None or task.model_version_id is None:
        raise NotKept(f"There is no version of {task.model_version} to ask.")
    now = serving.model_order.of(kind.name)
    if now and now.version.id == task.model_version_id:
        return now
    version = model_versions.get(db, task.model_version_id)
    try:
        return load(settings().model_dir, kind, version)
    except (artifacts.DamagedFiles, OSError, ValueError, KeyError):
        if now is None:
            raise NotKept(f"Version {version.id} of {kind.name}, which predicted this, is no longer kept.") from None
        return now


def _lnirt(db: Session, serving: ServingModels, task: Task) -> Loaded | None:
    """As `_who_explains`; none before the first training, and where no version is left."""
    try:
        return _who_explains(db, serving, task)
    except NotKept:
        return None


def _coalitions(task: Task, loaded: Loaded | None) -> QueryFlow[Coalitions | None]:
    """What LNIRT said of each coalition of the task's parts when it was created; none where that is not kept."""
    asked = TaskRequest(task.user_id, task.topic, task.difficulty, task.item_id)
    if loaded is not None:
        model = loaded.model
        return (yield from model.coalitions_then(asked, task.created_at)) if isinstance(model, InParts) else None
    if task.model_version_id is not None:
        return None
    from app.ml.lnirt import untrained  # SciPy with it, which a process with models need not import

    return (yield from untrained.coalitions_then(asked, task.created_at))


def average_inputs(loaded: Loaded) -> tuple[Floats, str]:
    """Of the tasks it was fitted on, (26,); a newcomer's, where the version doesn't say, and a remark about it."""
    kept = getattr(loaded.model, "metadata", {}).get("average")
    if kept is not None and len(kept) == len(NETWORK_INPUTS):
        return np.asarray(kept, np.float64), ""
    remark = " (This version keeps no average student; a newcomer without a past stands in.)"
    return np.concatenate([NEWCOMER, np.zeros(len(NETWORK_INPUTS) - N)]), remark


def _varied(loaded: Loaded, asked: TaskRequest, inputs: Floats, at: datetime) -> QueryFlow[Answers]:
    model = loaded.model
    if isinstance(model, Explainable):
        return (yield from model.varied(loaded.version.id, asked, inputs, at))
    if not isinstance(model, FromInputs):
        raise NotKept(f"{str(loaded).capitalize()} can't be asked with other features.")
    m = len(inputs)
    names = ([str(asked.user_id)] * m, [asked.topic] * m, [asked.difficulty] * m, [asked.item_id] * m)
    return model.predict(*names, inputs)


@dataclass(frozen=True, slots=True)
class Worth:
    """Clipped answers for every mixture, (2^n,) each; the first is the average student's, the last the student's."""

    probability: Floats
    seconds: Floats

    def at(self, place: int) -> Foreseen:
        return Foreseen(
            correctness_prob=float(self.probability[place]), estimated_time_seconds=float(self.seconds[place])
        )

    def shares(self) -> tuple[Floats, Floats]:
        """What each of n brings to the probability and to the seconds, (n,)."""
        return shapley.shares(self.probability), shapley.shares(self.seconds)


def _clipped(answers: Answers, found: Limits = USUAL) -> Worth:
    """Within the limits of the settings, or of the time those `found` in the data, as predictions are."""
    if not answers.are_finite():
        raise NotKept("The model gives numbers here that are none, so its prediction can't be explained.")
    given = settings()
    return Worth(
        np.clip(answers.probability, given.min_probability, given.max_probability),
        np.clip(answers.seconds, *as_set(found)),
    )


@dataclass(frozen=True, slots=True)
class Mixtures:
    """The student's inputs, the average student's, (26,) each, and what all mixtures of them are worth."""

    own: Floats
    average: Floats
    worth: Worth
    remark: str = ""


def _told(task: Task, version_id: int, found: Mixtures, kinds: list[KindAnswer], reader: Reader) -> Explanation:
    effects = sorted(_effects(task, found, reader), key=_size, reverse=True)
    average, own = found.worth.at(0), found.worth.at(-1)
    text = f"{_stand_in(task, version_id)}{summary(own, average, effects, reader)}{found.remark}"
    if task.contributions:
        text = f"{text} {_made_of(task.contributions)}"
    return Explanation(
        **_head(task), explained_by_version_id=version_id, prediction=own, average_student=average, features=effects,
        parts=[], text=text, kinds=kinds,
    )  # fmt: skip


def _told_parts(
    task: Task, loaded: Loaded | None, found: Coalitions, kinds: list[KindAnswer], reader: Reader
) -> Explanation:
    worth, version_id = _clipped(found.said, found.limits), loaded.version.id if loaded else None
    effects = sorted(_part_effects(task, worth, found.known, reader), key=_size, reverse=True)
    average, own = worth.at(0), worth.at(-1)
    text = f"{_stand_in(task, version_id)}{summary_of_parts(own, average, effects, reader)}{_moved_since(task, own)}"
    return Explanation(
        **_head(task), explained_by_version_id=version_id, prediction=own, average_student=average, features=[],
        parts=effects, text=text, kinds=kinds,
    )  # fmt: skip


def _size(effect: FeatureEffect | PartEffect) -> float:
    return abs(effect.correctness_effect)


def _stand_in(task: Task, version_id: int | None) -> str:
    """What is to be said first where another version explains than predicted."""
    if version_id == task.model_version_id:
        return ""
    return (
        f"Version {task.model_version_id}, which made this prediction, is no longer kept; version {version_id} "
        "says what it would have answered instead. "
    )


def _moved_since(task: Task, own: Foreseen) -> str:
    """What is to be said where other numbers were told, because what is known of that time has changed since."""
    chance, seconds = task.correctness_prob or 0.0, task.estimated_time_seconds or 0.0
    near = abs(own.correctness_prob - chance) < NOTICED.correctness_prob
    if near and abs(own.estimated_time_seconds - seconds) < NOTICED.estimated_time_seconds:
        return ""
    return f" (It was told as {percent(chance)} and {seconds:.0f} s; what it was made from has changed since.)"


def _made_of(contributions: Contributions) -> str:
    return f"Made of: {in_words(of_contributions(contributions))}."


def _effects(task: Task, found: Mixtures, reader: Reader) -> list[FeatureEffect]:
    own, average = _plain(found.own), _plain(found.average)
    correctness, seconds = found.worth.shares()
    return [
        FeatureEffect(
            feature=name,
            value=own[name],
            average=average[name],
            correctness_effect=float(correctness[place]),
            time_effect_seconds=float(seconds[place]),
            text=f"{of_feature(name, own, average, task, reader)}: {effect(correctness[place], seconds[place])}.",
        )
        for place, name in enumerate(FEATURES)
    ]


def _part_effects(task: Task, worth: Worth, known: int, reader: Reader) -> list[PartEffect]:
    correctness, seconds = worth.shares()
    return [
        PartEffect(
            part=part,
            correctness_effect=float(correctness[place]),
            time_effect_seconds=float(seconds[place]),
            text=f"{of_part(part, task, known, reader)}: {effect(correctness[place], seconds[place])}.",
        )
        for place, part in enumerate(parts_of(TaskRequest(task.user_id, task.topic, task.difficulty, task.item_id)))
    ]


def _plain(inputs: Floats) -> dict[str, float]:
    """The eleven in shares, seconds and tasks."""
    return dict(zip(FEATURES, (inputs[:N] * UNITS).tolist(), strict=True))


def _without_numbers(task: Task, said: Foreseen, kinds: list[KindAnswer], reader: Reader) -> Explanation:
    return Explanation(
        **_head(task), explained_by_version_id=None, prediction=said, average_student=None, features=[], parts=[],
        kinds=kinds, text=without_numbers(task, said, reader),
    )  # fmt: skip


def _head(task: Task) -> dict[str, Any]:
    return {"task_id": task.id, "model_version": task.model_version, "model_version_id": task.model_version_id}

"""What moved a prediction up or down against the average student: of a network the eleven features, of LNIRT the parts.

The version that predicted is asked again for every mixture of the student's features and the average student's (2^11
of them, in one batch); all else it knew stays as it was. Each feature's share of the difference is its Shapley value
(app/ml/shapley.py has the sources), so the eleven add up exactly to the prediction less the average student's.

LNIRT adds up student, topic, difficulty and exercise. It is asked again for every coalition of these (2^4), the others
taken as unknown (app/ml/lnirt/parts.py), so theirs add up to the prediction less that for a student and a task of which
nothing is known: the average student on the average task.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.core.db.statements import QueryFlow, run_sync
from app.core.settings import settings
from app.crud import model_versions, practice_tasks
from app.domain.errors import NotKept, VersionNotFound
from app.domain.kinds import BASE, NETWORKS
from app.domain.shares import ALL, Share, of_contributions
from app.domain.tasks import Task, TaskRequest
from app.ml import shapley
from app.ml.answers import Answer, Answers, Coalitions, parts_of, plain_answers
from app.ml.calibration.time_limits import USUAL, Limits
from app.ml.calibration.time_limits import limits as as_set
from app.ml.explanation import text
from app.ml.explanation.text import Reader
from app.ml.explanation.values import Explanation, FeatureEffect, Foreseen, KindAnswer, PartEffect
from app.ml.features.history import COUNT_UNITS, FEATURES, SECONDS_UNIT, UNKNOWN_RATE, UNKNOWN_SECONDS
from app.ml.features.inputs import NETWORK_INPUTS
from app.ml.prior import PRIOR
from app.ml.registry import BY_NAME, MODELS, ModelSpec
from app.ml.serving.model_order import UNLOADABLE, Loaded, ServingModels, load
from app.ml.serving.pool import in_words, pool

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


def explanation(db: Session, serving: ServingModels, task: Task, *, to_student: bool) -> Explanation:
    """Why the task was predicted as it was.

    Raises:
        NotKept: it was imported, or what it was made from or who made it is not kept.
    """
    if task.correctness_prob is None:
        raise NotKept("This task was imported; nothing was predicted for it.")
    asked = _Question(db, serving, task, kept_inputs(db, task), Reader(to_student))
    if task.model_version == PRIOR.model_version:
        return asked.without_numbers(None)
    return asked.of_lnirt() if task.model_version == LNIRT else asked.of_network()


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked about a task that was predicted, and by whom."""

    db: Session
    serving: ServingModels
    task: Task
    inputs: Floats | None  # (26,) as in NETWORK_INPUTS, where they were kept
    reader: Reader

    def without_numbers(self, loaded: Loaded | None) -> Explanation:
        """Where nothing is there to set beside the prediction."""
        told = Foreseen(self.task.correctness_prob or 0.0, self.task.estimated_time_seconds or 0.0)
        return self._explained(told, text.without_numbers(self.task, told, self.reader), self._kinds(loaded))

    def of_lnirt(self) -> Explanation:
        """By the parts of the task."""
        task, reader, loaded = self.task, self.reader, self._version()
        found = run_sync(_coalitions(task, loaded), self.db)
        if found is None:
            return self.without_numbers(loaded)
        worth = _clipped(found.said, found.limits)
        own, average = worth.at(-1), worth.at(0)
        effects = [
            PartEffect(p, time, f"{text.of_part(part, task, found.known, reader)}: {text.effect(p, time)}.", part)
            for part, p, time in zip(parts_of(task.request), *worth.shares(), strict=True)
        ]
        effects.sort(key=_size, reverse=True)
        said = text.summary_of_parts(own, average, effects, reader)
        said = f"{_stand_in(task, loaded)}{said}{_moved_since(task, own)}"
        return self._explained(own, said, self._kinds(loaded), loaded, average, parts=effects, known=found.known)

    def of_network(self) -> Explanation:
        """By the eleven features."""
        task, reader, loaded = self.task, self.reader, self._version()
        if loaded is None and task.model_version_id is None:
            raise NotKept(f"There is no version of {task.model_version} to ask.")
        if loaded is None:
            which = f"Version {task.model_version_id} of {task.model_version}"
            raise NotKept(f"{which}, which predicted this, is no longer kept.")
        if self.inputs is None:
            raise NotKept("What this prediction was made from was not kept at the time, so it can't be explained.")
        (usual, remark), kinds = average_inputs(loaded), self._kinds(loaded)
        answers = run_sync(_varied(loaded, task, shapley.mixed(self.inputs, usual, N)), self.db)
        worth = _clipped(_with_others(answers, kinds), self.serving.model_order.limits)
        own, average, mine, others = worth.at(-1), worth.at(0), _plain(self.inputs), _plain(usual)
        effects = [
            FeatureEffect(
                p, time, f"{text.of_feature(name, mine, others, task, reader)}: {text.effect(p, time)}.",
                name, mine[name], others[name],
            )
            for name, p, time in zip(FEATURES, *worth.shares(), strict=True)
        ]  # fmt: skip
        effects.sort(key=_size, reverse=True)
        said = f"{_stand_in(task, loaded)}{text.summary(own, average, effects, reader)}{remark}"
        if task.contributions:
            said = f"{said} Made of: {in_words(of_contributions(task.contributions))}."
        known = round(mine["overall_task_count"])
        return self._explained(own, said, kinds, loaded, average, features=effects, known=known)

    def _version(self) -> Loaded | None:
        """The one that explains; none before the first training, and where no version is left."""
        kind = next((kind for kind in MODELS if kind.wire_name == self.task.model_version), None)
        if kind is None or self.task.model_version_id is None:
            return None
        return version_for(self.db, self.serving, self.task, kind)

    def _kinds(self, predicted: Loaded | None) -> list[KindAnswer]:
        """What each kind that serves says of the task, from what was known when it was created.

        Of the kind that predicted the task, the version `predicted` is asked; none where no version did. Kinds that
        can't be asked about an earlier moment are left out, and networks where the task's inputs are not kept.
        """
        found, task = [], self.task
        for now in self.serving.model_order.models:
            answered = predicted is not None and predicted.kind.name == now.kind.name
            loaded = predicted if predicted is not None and answered else now
            if not isinstance(loaded.model, Retrospective) or (self.inputs is None and loaded.kind.name in NETWORKS):
                continue
            then = loaded.model.answer_then(loaded.version.id, task.request, self.inputs, task.created_at)
            said, share = run_sync(then, self.db), _share(task, loaded.kind.name, answered)
            if said.is_finite():
                which = (loaded.kind.name, loaded.version.id, answered)
                found.append(KindAnswer(*which, share.chance, share.time, said.probability, said.seconds))
        return found

    def _explained(
        self, prediction: Foreseen, said: str, kinds: Sequence[KindAnswer], by: Loaded | None = None,
        average: Foreseen | None = None, features: Sequence[FeatureEffect] = (), parts: Sequence[PartEffect] = (),
        known: int = 0,
    ) -> Explanation:  # fmt: skip
        which = (self.task.id, self.task.model_version, self.task.model_version_id)
        by_id = by.version.id if by else None
        return Explanation(*which, prediction, kinds, said, by_id, average, features, parts, known)


def kept_inputs(db: Session, task: Task) -> Floats | None:
    """What the prediction was made from, (26,) as in NETWORK_INPUTS; none where it was not kept."""
    kept = practice_tasks.features_of(db, task.id)
    return np.asarray(kept, np.float64) if kept is not None and len(kept) == len(NETWORK_INPUTS) else None


def _share(task: Task, kind: str, answered: bool) -> Share:
    """What the kind had to say of this task."""
    if task.contributions is None:
        return ALL if answered else Share()
    return of_contributions(task.contributions).get(kind, Share())


def _with_others(answers: Answers, kinds: Sequence[KindAnswer]) -> Answers:
    """A network's answers to m variations of the task, together with what the other kinds said of it as it was."""
    parts = list[tuple[Answers, Share]]()
    for each in kinds:
        share = Share(each.chance_share, each.time_share)
        if share.has_part:
            p, seconds = (np.full(len(answers), x) for x in (each.correctness_prob, each.estimated_time_seconds))
            parts.append((answers if each.answered else plain_answers(p, seconds), share))
    return pool(parts) if any(each.answered for each in kinds) and len(parts) > 1 else answers


def version_for(db: Session, serving: ServingModels, task: Task, kind: ModelSpec) -> Loaded | None:
    """The version of this kind that predicted the task, while its files are kept, or else the one that serves now."""
    now = serving.model_order.of(kind.name)
    predicted = task.model_version_id if task.model_version == kind.wire_name else None
    if predicted is None or (now and now.version.id == predicted):
        return now
    try:
        return load(serving.store, kind, model_versions.get(db, predicted))
    except (*UNLOADABLE, VersionNotFound):
        return now


def _coalitions(task: Task, loaded: Loaded | None) -> QueryFlow[Coalitions | None]:
    """What LNIRT said of each coalition of the task's parts when it was created; none where that is not kept."""
    if loaded is not None:
        model = loaded.model
        return (yield from model.coalitions_then(task.request, task.created_at)) if isinstance(model, InParts) else None
    if task.model_version_id is not None:
        return None
    from app.ml.lnirt import untrained  # SciPy with it, which a process with models need not import

    return (yield from untrained.coalitions_then(task.request, task.created_at))


def average_inputs(loaded: Loaded) -> tuple[Floats, str]:
    """Of the tasks it was fitted on, (26,); a newcomer's, where the version doesn't say, and a remark about it."""
    kept = getattr(loaded.model, "metadata", {}).get("average")
    if kept is not None and len(kept) == len(NETWORK_INPUTS):
        return np.asarray(kept, np.float64), ""
    remark = " (This version keeps no average student; a newcomer without a past stands in.)"
    return np.concatenate([NEWCOMER, np.zeros(len(NETWORK_INPUTS) - N)]), remark


def _varied(loaded: Loaded, task: Task, inputs: Floats) -> QueryFlow[Answers]:
    if not isinstance(loaded.model, Explainable):
        raise NotKept(f"{str(loaded).capitalize()} can't be asked with other features.")
    return (yield from loaded.model.varied(loaded.version.id, task.request, inputs, task.created_at))


@dataclass(frozen=True, slots=True)
class Worth:
    """Clipped answers for every mixture, (2^n,) each; the first is the average student's, the last the student's."""

    probability: Floats
    seconds: Floats

    def at(self, place: int) -> Foreseen:
        return Foreseen(float(self.probability[place]), float(self.seconds[place]))

    def shares(self) -> tuple[list[float], list[float]]:
        """What each of n brings to the probability and to the seconds."""
        return shapley.shares(self.probability).tolist(), shapley.shares(self.seconds).tolist()


def _clipped(answers: Answers, found: Limits = USUAL) -> Worth:
    """Within the limits of the settings, or of the time those `found` in the data, as predictions are."""
    if not answers.are_finite():
        raise NotKept("The model gives numbers here that are none, so its prediction can't be explained.")
    given = settings()
    return Worth(
        np.clip(answers.probability, given.min_probability, given.max_probability),
        np.clip(answers.seconds, *as_set(found)),
    )


def _plain(inputs: Floats) -> dict[str, float]:
    """The eleven in shares, seconds and tasks."""
    return dict(zip(FEATURES, (inputs[:N] * UNITS).tolist(), strict=True))


def _size(effect: FeatureEffect | PartEffect) -> float:
    return abs(effect.correctness_effect)


def _stand_in(task: Task, loaded: Loaded | None) -> str:
    """What is to be said first where another version explains than predicted."""
    if loaded is None or loaded.version.id == task.model_version_id:
        return ""
    return (
        f"Version {task.model_version_id}, which made this prediction, is no longer kept; version {loaded.version.id} "
        "says what it would have answered instead. "
    )


def _moved_since(task: Task, own: Foreseen) -> str:
    """What is to be said where other numbers were told, because what is known of that time has changed since."""
    chance, seconds = task.correctness_prob or 0.0, task.estimated_time_seconds or 0.0
    near = abs(own.correctness_prob - chance) < NOTICED.correctness_prob
    if near and abs(own.estimated_time_seconds - seconds) < NOTICED.estimated_time_seconds:
        return ""
    told = f"{text.percent(chance)} and {seconds:.0f} s"
    return f" (It was told as {told}; what it was made from has changed since.)"

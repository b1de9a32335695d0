"""The models that this process answers with, and how they change without anybody waiting."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.database import new_session
from app.core.settings import settings
from app.crud import model_versions
from app.crud.model_versions import Version
from app.domain.errors import StoreAway
from app.domain.kinds import BASE
from app.domain.reasons import Said, SentenceEnum
from app.domain.shares import ALL, Share
from app.ml.answers import TaskModel
from app.ml.calibration.time_limits import USUAL, Limits
from app.ml.registry import BY_NAME, ModelSpec
from app.ml.serving import artifacts
from app.ml.serving.pool import in_words
from app.ml.serving.version_store import VersionStore, version_store

log = logging.getLogger("smartstudy.serving")


class ServingProblem(SentenceEnum):
    """Why no better model answers, the gravest first; the names are the causes that /metrics counts."""

    NOT_FINITE = "{model} gave no usable answer: a number that is not finite."
    MODEL_FAILED = "{model} gave no usable answer: {why}."
    FILES_DAMAGED = "Version {id} of {kind} can't be loaded: {why}.{instead}"
    NO_BASE = "Version {id} of {kind} can't answer: it corrects LNIRT, of which no version is in service here."
    KIND_NOT_TRAINED = "MODEL asks for {kind}, but none has been trained yet."
    NOT_LOADED_YET = "The versions in service are not loaded yet."
    NO_MODEL_YET = "No model has been trained yet."


GRAVEST_FIRST = list[SentenceEnum](ServingProblem)
UNFETCHABLE = (artifacts.DamagedFiles, StoreAway, OSError)
UNLOADABLE = (*UNFETCHABLE, ValueError, KeyError)
NOT_LOOKED_UP = (0, 0, 0)  # instead of the versions that should serve
REFRESH_SECONDS = 2.0  # that a store which hangs, or files that take long to come, hold up who looks every second
SWEEP_SECONDS = 60.0
RETRY_SECONDS = 30.0  # files that could not be loaded may be put back


@dataclass(frozen=True, slots=True)
class Loaded:
    """A version in memory."""

    kind: ModelSpec
    version: Version
    model: TaskModel

    def __str__(self) -> str:
        return f"version {self.version.id} of {self.kind.name}"


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """Who answers, best first, and of each kind that does not, why."""

    models: tuple[Loaded, ...] = ()
    missing: Mapping[str, Said] = field(default_factory=dict)  # asked for by the settings, but never trained
    broken: Mapping[str, Said] = field(default_factory=dict)  # can't be loaded
    order: tuple[str, ...] = ()  # the kinds as they should answer
    wanted: tuple[int, ...] = ()  # the versions this was made from, each with its shares in thousandths

    @property
    def versions(self) -> tuple[int, ...]:
        """The ids of those that should serve."""
        return self.wanted[::3]

    @property
    def first(self) -> Loaded | None:
        return next(iter(self.models), None)

    @property
    def limits(self) -> Limits:
        """Between which seconds answers stay, by the tasks that LNIRT was fitted to."""
        base = self.of(BASE)
        return getattr(base.model, "limits", USUAL) if base else USUAL

    def of(self, kind: str) -> Loaded | None:
        """The version of this kind."""
        return next((loaded for loaded in self.models if loaded.kind.name == kind), None)

    def for_student(self, student: UUID) -> tuple[dict[str, Share], tuple[Loaded, ...]]:
        """What each kind has to say to this student, and who answers where none of these can, best first.

        A kind that is being rolled out to them, or that MODEL pins, has all the say.
        """
        given = self.of(rolled_out_to(student)) if settings().rollout else None
        if given:
            return {given.kind.name: ALL}, (given, *(each for each in self.models if each is not given))
        return self.spoken, self.models

    @property
    def shares(self) -> dict[str, Share]:
        """What each kind that is loaded has to say; all of it the first, where none was given any."""
        found = {each.kind.name: Share(each.version.chance_share, each.version.time_share) for each in self.models}
        found = {kind: share for kind, share in found.items() if share.has_part}
        return found or ({self.first.kind.name: ALL} if self.first else {})

    @property
    def spoken(self) -> dict[str, Share]:
        """What each kind has to say to students who are in no rollout: all of it the one that MODEL pins."""
        return {self.first.kind.name: ALL} if self.first and settings().model != "auto" else self.shares

    def why_not_better(self, than: Loaded | None) -> list[Said]:
        """Why no version that should come before this one answers; before the prior come all."""
        if than is None and not self.broken:
            is_known = self.wanted != NOT_LOOKED_UP
            return [(ServingProblem.NO_MODEL_YET if is_known else ServingProblem.NOT_LOADED_YET).said()]
        pinned = than is not None and settings().model != "auto"  # else whoever serves may have its part
        better = self.order[: self.order.index(than.kind.name) + 1] if than and pinned else self.order
        return [why for name in better for why in (self.missing.get(name), self.broken.get(name)) if why]


def cause(why_not_better: Sequence[Said]) -> str:
    """Why no better model answered, in one word: the gravest of the reasons."""
    return min((why.kind for why in why_not_better), key=GRAVEST_FIRST.index).name.lower() if why_not_better else "none"


def rolled_out_to(student: UUID) -> str:
    """The kind that ROLLOUT gives to this student, or none (empty): always the same for the same setting."""
    place = int.from_bytes(sha256(student.bytes).digest()[:8], "big") / 2**64 * 100
    for kind, share in settings().shares().items():
        if place < share:
            return kind
        place -= share
    return ""


class ServingModels:
    """Holds the serving versions; `model_order` is read by requests and swapped in one assignment."""

    def __init__(self, open_session: Callable[[], AbstractContextManager[Session]], store: VersionStore) -> None:
        self.model_order = ModelOrder(wanted=NOT_LOOKED_UP)
        self._open_session = open_session
        self.store = store
        self._turn = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load-model")
        self._again_at = float("inf")  # when to try once more what could not be loaded
        self._swept_again_at = 0.0
        self._unhealthy: dict[int, Said] = {}  # versions without a usable answer

    @property
    def problems(self) -> list[str]:
        """What is wrong: files that can't be loaded, numbers that are none, and who stands in for whom."""
        order = self.model_order
        unhealthy = (why for version, why in self._unhealthy.items() if version in order.versions)
        return [why.text for why in (*order.broken.values(), *unhealthy, *order.missing.values())]

    @property
    def store_problem(self) -> str | None:
        """Why the store of the models can't be asked (a folder is made for the first version); memory answers."""
        return self.store.problem() if self.model_order.versions or not self.store.folder else None

    @property
    def answering(self) -> Loaded | None:
        """Who answers first, unless it turned out unhealthy."""
        return next(self._healthy(), None)

    @property
    def named(self) -> Loaded | None:
        """Whose name stands on tasks: the network that has most part, if any has, else who answers first."""
        shares = self.model_order.spoken
        networks = [
            (shares[each.kind.name], each) for each in self._healthy() if each.kind.name in shares.keys() - {BASE}
        ]
        most = max(networks, key=lambda pair: pair[0].chance + pair[0].time, default=None)
        return most[1] if most else self.answering

    def _healthy(self) -> Iterator[Loaded]:
        return (each for each in self.model_order.models if each.version.id not in self._unhealthy)

    def request_refresh(self, serving: tuple[int, ...]) -> None:
        """A request saw which versions should serve: fetch them, but don't wait for it."""
        if not self._is_current(serving) and not self._turn.locked():
            self._loader.submit(self._refresh_quietly)

    def refresh_within(self, seconds: float = REFRESH_SECONDS) -> None:
        """Refresh, but wait no longer than this; it goes on in the background."""
        if not self._turn.locked():
            with suppress(TimeoutError):
                self._loader.submit(self.refresh).result(seconds)

    def refresh(self) -> None:
        """Load the versions that should serve now, where they are others; blocks. What can't be loaded is told once."""
        with self._turn:
            with self._open_session() as db:
                wanted = model_versions.serving(db)
            if not self._is_current(marks(wanted.values())):
                self._switch_to(wanted)

    def sweep(self) -> None:
        """Once a minute, delete what this machine has fetched and need not keep."""
        if not self.store.is_here and time.monotonic() >= self._swept_again_at:
            with self._open_session() as db:
                known = model_versions.folders(db)
            self.store.sweep(known)
            self._swept_again_at = time.monotonic() + SWEEP_SECONDS

    def mark_unhealthy(self, loaded: Loaded, problem: ServingProblem, **values: object) -> Said:
        """The model has no answer that can be used: say so, once."""
        why = problem.said(model=str(loaded).capitalize(), **values)
        if self._unhealthy.get(loaded.version.id) != why:
            self._unhealthy[loaded.version.id] = why
            log.error("%s", why.text)
        return why

    def close(self) -> None:
        self._loader.shutdown(cancel_futures=True)

    def _is_current(self, serving: tuple[int, ...]) -> bool:
        return serving == self.model_order.wanted and time.monotonic() < self._again_at

    def _switch_to(self, wanted: dict[str, Version]) -> None:
        here = {loaded.version.id: loaded for loaded in self.model_order.models}
        models: list[Loaded] = []
        broken: dict[str, Said] = {}
        order = _order(tuple(wanted))
        for version in (wanted[name] for name in order if name in wanted):
            try:
                models.append(self._loaded(version, here))
            except UNLOADABLE as why:
                fallback = self._fallback(version, here)
                models += [fallback] if fallback else []
                broken[version.kind] = _cannot_load(version, why, fallback)
                if isinstance(why, StoreAway) and version.kind not in self.model_order.broken:
                    log.error("%s", why)
        missing = {name: ServingProblem.KIND_NOT_TRAINED.said(kind=name) for name in order if name not in wanted}
        base = next((each for each in models if each.kind.name == BASE), None)
        if base:
            models = [replace(each, model=on_base(each.model, base.model, base.version.id)) for each in models]
        else:  # it was retired or is lost; in a process that still has it in memory as in one that begins
            useless = [each for each in models if is_corrective(each.model)]
            models = [each for each in models if each not in useless]
            broken |= {
                each.kind.name: ServingProblem.NO_BASE.said(id=each.version.id, kind=each.kind.name) for each in useless
            }
        model_order = ModelOrder(tuple(models), missing, broken, order, marks(wanted.values()))
        self._tell(model_order)
        show_files(self.store.model_dir, wanted.values())
        self._again_at = time.monotonic() + RETRY_SECONDS if broken else float("inf")
        self.model_order = model_order

    def _loaded(self, version: Version, here: Mapping[int, Loaded]) -> Loaded:
        kept = here.get(version.id)
        if kept:
            return Loaded(kept.kind, version, kept.model)
        if version.kind not in BY_NAME:
            raise ValueError(f"this release has no kind {version.kind}")
        return load(self.store, BY_NAME[version.kind], version)

    def _fallback(self, broken: Version, here: Mapping[int, Loaded]) -> Loaded | None:
        """The version of this kind that served last before and can be loaded, with as much to say."""
        with self._open_session() as db:
            earlier = model_versions.retired(db, broken.kind)
        for version in sorted(earlier, key=lambda each: each.id not in here):  # what is in memory needs no store
            with suppress(*UNLOADABLE):
                return self._loaded(
                    replace(version, chance_share=broken.chance_share, time_share=broken.time_share), here
                )
        return None

    def _tell(self, model_order: ModelOrder) -> None:
        for kind, problem in model_order.broken.items():
            if self.model_order.broken.get(kind) != problem:
                who = str(model_order.first).capitalize() if model_order.first else "LNIRT of the newest tasks"
                log.error("%s %s answers now.", problem.text, who)
        for loaded in model_order.models:
            if loaded.version.id not in self.model_order.versions:
                log.info("%s is loaded", loaded)
        if model_order.shares != self.model_order.shares:
            log.info("what is answered: %s", in_words(model_order.shares) or "LNIRT of the newest tasks")

    def _refresh_quietly(self) -> None:
        try:
            self.refresh()
        except Exception:
            log.exception("the serving versions could not be looked up")


def _cannot_load(version: Version, why: Exception, fallback: Loaded | None) -> Said:
    instead = f" Version {fallback.version.id}, which served before, answers instead." if fallback else ""
    said = str(why).rstrip(".")  # where it lies is no concern of a student; the log tells
    if isinstance(why, StoreAway):
        said = "the store of the models can't be used"
    elif isinstance(why, OSError) and why.strerror:
        said = why.strerror
    return ServingProblem.FILES_DAMAGED.said(id=version.id, kind=version.kind, why=said, instead=instead)


def show_files(model_dir: Path, best_first: Iterable[Version]) -> None:
    """The well-known names in MODEL_DIR lead to the first network in the database's order."""
    for version in best_first:
        if set(artifacts.SHOWN) <= set(version.files) and (model_dir / version.folder).is_dir():
            try:
                artifacts.show(model_dir, version.folder)
            except OSError as why:  # whoever answers needs no names
                log.warning("the well-known names in MODEL_DIR stay as they are: %s", why)
            return


def load(store: VersionStore, kind: ModelSpec, version: Version, *, evaluated: bool = False) -> Loaded:
    """The version in memory, as it serves or as it was evaluated; its files are checked before anything opens them."""
    return Loaded(kind, version, ((evaluated and kind.load_evaluated) or kind.load)(store.fetched(version)))


def marks(versions: Iterable[Version]) -> tuple[int, ...]:
    """What tells who serves, with which shares, from before: as `student_totals.PAST` has it."""
    return tuple(number for version in versions for number in version.mark)


def on_base(model: TaskModel, base: TaskModel | None, version_id: int = 0) -> TaskModel:
    """A network corrects this LNIRT; every other model is what it is."""
    from app.ml.networks.inference import ServedNetwork

    if not isinstance(model, ServedNetwork) or base is None:
        return model
    from app.ml.lnirt.model import ServedLnirt
    from app.ml.networks.base_inputs import BaseInputs

    return model.on(BaseInputs(base, version_id)) if isinstance(base, ServedLnirt) else model


def is_corrective(model: TaskModel) -> bool:
    """Whether it is a network, which says nothing without an LNIRT."""
    from app.ml.networks.inference import ServedNetwork

    return isinstance(model, ServedNetwork)


def _order(best_first: tuple[str, ...]) -> tuple[str, ...]:
    """The kinds as they should answer: as the database has them, the one that MODEL pins in front."""
    pinned = settings().model
    return best_first if pinned == "auto" else (pinned, *(kind for kind in best_first if kind != pinned))


@lru_cache
def serving_models() -> ServingModels:
    """Those of this process."""
    return ServingModels(lambda: new_session().begin(), version_store())  # no database before it is needed

"""One training run, from the lock to the new version. Runs in the training process."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.database import RESTART_SECONDS, at_once, engine_for
from app.core.db.outages import meaning, outage, reason, tell
from app.core.memory import give_back
from app.crud import (
    attempts,
    corrections,
    erasures,
    model_tracker,
    model_versions,
    network_settings,
    topics,
    training_runs,
)
from app.domain.attempts import Attempts
from app.domain.errors import AppError, StoreAway
from app.domain.kinds import BASE, CHECKPOINT, NETWORKS, TRAINED
from app.ml.answers import TaskModel
from app.ml.engine.local import Arrays, current
from app.ml.features import learning_curve
from app.ml.features.drift import summary
from app.ml.registry import BY_NAME, MODELS, Fitted, ModelSpec, network
from app.ml.serving import artifacts
from app.ml.serving.model_order import UNFETCHABLE, load, on_base, show_files
from app.ml.serving.version_store import VersionStore
from app.ml.training.budget import BEGINS, IDLE, LNIRT_ALONE, Budget, networks_fit, peak
from app.ml.training.dataset import (
    MOST_FRESH,
    READ,
    READ_WHOLE,
    TrainingSet,
    due_from_scratch,
    fresh_rows,
    full,
    subsampled,
)
from app.ml.training.decision import Incumbent
from app.ml.training.gate import HoldoutSet, drift
from app.ml.training.heartbeat import heartbeat
from app.ml.training.publication import Candidate, Findings, Made, Publication, none_erased
from app.ml.training.reasons import RunEnded, RunReason
from app.ml.training.tuned_settings import checked
from app.ml.training.turn import Turn
from app.ml.training.workers import Workers

log = logging.getLogger("smartstudy.training")
Say = Callable[[Mapping[str, Any]], None]
Fit = Callable[[Callable[[Mapping[str, Any]], object]], Fitted]
PATIENCE_SECONDS, WAIT_SECONDS = 300.0, 5.0  # with a store that is away; between two tries
Names = tuple[tuple[str, ...], ...]
SHARDS = "shards"
ONE_NETWORK = threading.Lock()  # at a worker with several threads too: Keras has names and settings for all of them
PROGRESS_SECONDS = 0.5  # between two rows of progress
STANDING_BY = 50  # new tasks: with fewer a network that doesn't answer isn't trained, but stands by as it is
DRIFT_GROWTH = 0.05  # of the tasks since the last training from scratch: before that, drift makes no other one due


@dataclass(frozen=True, slots=True)
class Order:
    """What to do, and where; crosses to the training process as JSON."""

    run_id: int
    database_url: str
    model_dir: str
    retrain_every: int
    min_training_tasks: int
    keep_versions: int
    forced: bool = False  # train even when the counter has not got there, and from scratch
    kinds: Sequence[str] | None = None  # only these; none: all that the installation trains
    growth: float = 0.5  # of the tasks since the last training from scratch, that makes another one due
    silent_seconds: float = 60  # after which a run that is not heard of is taken for dead
    trained: Sequence[str] = TRAINED  # the kinds that the installation trains
    model_url: str = ""  # where versions lie for good; empty: in model_dir
    scheduler: str | None = None  # of Dask, whose workers do the heavy work; none: this process does it
    seconds: float = 3600  # of work that it should take at the most
    memory_bytes: int | None = None  # that its process may hold; none: as much as there is

    @property
    def leading_kind(self) -> str:
        """The one whose versions say whether there is something to go on from: the first network that is trained."""
        return next((kind for kind in NETWORKS if kind in (self.kinds or self.trained)), BASE)


def train(order: Order, say: Say) -> dict[str, Any]:
    """Do the run and record how it ended; what is returned says it too. Raises nothing that a run can meet."""
    patience = min(RESTART_SECONDS, order.silent_seconds / 4)  # nobody waits for the run, but its heart has to beat
    engine = engine_for(order.database_url, lambda: patience)
    try:
        turn = Turn(engine, order.run_id, order.silent_seconds)
        with closing(turn), heartbeat(engine, order.run_id, order.silent_seconds, say, turn.keep):
            turn.wait()
            with Session(engine) as db, db.begin():
                training_runs.start(db, order.run_id)  # before anything that may overrun: the next stands lower then
            get_ready(engine, order)
            say(BEGINS)
            budget = Budget(order.seconds, order.memory_bytes, order.kinds or order.trained)
            try:
                return TrainingRun(engine, order, say, budget).train()
            finally:
                _note_cost(engine, order.run_id, budget)
    except RunEnded as why:
        return _end(engine, order, why.outcome, str(why))
    except Exception as why:  # whatever it was, the model in use stays and the row says why
        tell(log, "the run failed", why)
        overran = "memory" if isinstance(why, MemoryError) else None
        return _end(engine, order, "failed", sentence(why), overran, away=_is_outage(why))
    finally:
        engine.dispose()


class TrainingRun:
    """A run at work, whose turn it is."""

    def __init__(self, engine: Engine, order: Order, say: Say, budget: Budget) -> None:
        self._engine, self._order, self._say = engine, order, say
        self._store = VersionStore(Path(order.model_dir), order.model_url)
        self._next_progress = 0.0
        self._workers = Workers(self._progress)
        self._budget = budget

    def train(self) -> dict[str, Any]:
        """From the tasks to the new versions; raises RunEnded where nothing is to come of it."""
        order = self._order
        training_set, holdout, incumbents = self._read()
        staging_place = artifacts.staging_place()
        self._writes([staging_place])
        with (
            artifacts.staged(self._store.model_dir, staging_place) as staging,
            self._hired(training_set, staging_place),
        ):
            made, failures = self._made(training_set, staging)
            self._progress({"step": "judge"}, now=True)
            evaluations = [holdout.evaluate(each.model) for each in made]
            if incumbents is None:
                incumbents = self._incumbents(holdout)
            made = [
                self._workers.do(_finished, each, training_set) if self._budget.is_left() else each for each in made
            ]
            self._progress({"step": "publish"}, now=True)
            places = [artifacts.place(f"{each.kind}-{order.run_id}-{uuid4().hex[:12]}") for each in made]
            self._writes([staging_place, *places])
            curve = learning_curve.to_dict(learning_curve.estimated(training_set.attempts))
            findings = Findings(
                order.run_id,
                training_set,
                holdout,
                order.keep_versions,
                order.kinds,
                summary(training_set.older),
                curve,
                self._workers.lost,
                self._budget.told,
            )
            try:
                candidates = [
                    Candidate(each, evaluation, self._settled(each, place))
                    for each, evaluation, place in zip(made, evaluations, places, strict=True)
                ]
                return self._publish(findings, incumbents, candidates, failures, staging_place)
            except RunEnded:
                for place in places:
                    self._store.remove(place)
                raise

    def _read(self) -> tuple[TrainingSet, HoldoutSet, dict[str, Incumbent] | None]:
        """The tasks, and the newest of them held out. A run that goes on looks first at how those in service do: where
        they have drifted, it starts from scratch instead. (A run from scratch evaluates them when it has fitted,
        minutes later.)"""
        self._tidy()
        self._champions()
        self._progress({"step": "read"}, now=True)
        training_set, incumbents = at_once(self._engine, self._snapshot), None
        holdout = HoldoutSet(training_set.attempts, training_set.holdout_start)
        if not training_set.from_scratch:
            incumbents = self._incumbents(holdout)
            if why := self._drifted(training_set, incumbents):
                self._progress({"step": why}, now=True)
                taken = training_set
                training_set = at_once(
                    self._engine,
                    lambda db: self._from_scratch(
                        db, taken.tasks, taken.counter_snapshot, self._budget.rows(db, taken.tasks)
                    ),
                )
                incumbents = None
                holdout = HoldoutSet(training_set.attempts, training_set.holdout_start)
        with self._transaction() as db:
            training_runs.plan(db, self._order.run_id, training_set.from_scratch, len(training_set.attempts))
        return training_set, holdout, incumbents

    def _snapshot(self, db: Session) -> TrainingSet:
        """The finished tasks that the run works with and how many of them the counter holds, of one moment. Call it in
        a snapshot."""
        order = self._order
        counter_snapshot = model_tracker.read(db).since_training
        if not order.forced and counter_snapshot < order.retrain_every and not erasures.pending(db):
            raise RunEnded("merged", RunReason.TAKEN_BY_ANOTHER)
        tasks = attempts.count(db)
        if tasks < order.min_training_tasks:
            raise RunEnded("failed", RunReason.TOO_FEW_TASKS, tasks=tasks, least=order.min_training_tasks)
        last = training_runs.last_from_scratch(db)
        before = self._on_disk(model_versions.to_go_on_from(db, order.leading_kind, CHECKPOINT))
        learnt = before.n_tasks if before else None
        rows, why = self._budget.rows(db, tasks)
        must = order.forced or self._budget.lnirt_alone or (last and topics.moved_since(db, last.asked_at))
        if must or due_from_scratch(tasks, last.n_tasks if last else None, order.growth, learnt):
            anew = must or last is None or learnt is None or tasks < learnt or rows >= min(last.n_read or 0, tasks)
            # long overdue: else one odd measurement would keep it from ever being measured again
            if anew or (last and tasks >= (1 + order.growth) ** 2 * (last.n_tasks or 0)):
                return self._from_scratch(db, tasks, counter_snapshot, (rows, why))
            self._budget.tell(RunReason.WENT_ON, read=rows, tasks=tasks, why=why)  # so it learns from more
        if tasks <= min(READ_WHOLE, rows):
            return full(db, counter_snapshot, from_scratch=False)
        since, corrected = (before.data_to, _corrected(db, before)) if before else (None, ())
        return subsampled(db, tasks, counter_snapshot, since, order.run_id, corrected, most=min(READ, rows))

    def _from_scratch(self, db: Session, tasks: int, counter_snapshot: int, most: tuple[int, str]) -> TrainingSet:
        """All of the tasks, or as many as the run can take and why not all. Call it in a snapshot."""
        rows, why = most
        if rows >= tasks:
            return full(db, counter_snapshot, from_scratch=True)
        found = subsampled(db, tasks, counter_snapshot, None, self._order.run_id, most=rows, from_scratch=True)
        if not found.is_full:
            self._budget.tell(RunReason.TOOK_SOME, read=len(found.attempts), tasks=tasks, why=why)
        return found

    def _drifted(self, training_set: TrainingSet, incumbents: Mapping[str, Incumbent]) -> str | None:
        """Why to start from scratch after all; not again before there are some more tasks."""
        with self._transaction() as db:
            last = training_runs.last_from_scratch(db)
            if last is None or training_set.tasks < (1 + DRIFT_GROWTH) * (last.n_tasks or 0):
                return None
            for kind, now in incumbents.items():
                then = model_versions.of_run(db, last.id, kind)
                if BY_NAME[kind].update and then and now.evaluation:
                    why = drift(f"Version {now.id} of {kind}", now.evaluation, then.scores)
                    if why:
                        return why.text
        return None

    def _incumbents(self, holdout: HoldoutSet) -> dict[str, Incumbent]:
        """The versions in service, evaluated. What knows the holdout set is no rival: versions from before there was a
        gate were fitted on everything."""
        versions, base, found = self._champions(), self._base_in_service(), {}
        for name, version in versions.items():
            evaluation = None
            try:
                model = self._evaluated(version) if version.data_to is not None else None
                evaluation = holdout.evaluate(on_base(model, base)) if model else None
            except (ValueError, LookupError):
                log.exception("version %s of %s can't be evaluated", version.id, name)
            found[name] = Incumbent(version.id, evaluation)
        return found

    def _champions(self) -> dict[str, model_versions.Version]:
        """The versions in service, by kind, with their files on this machine.

        Raises:
            RunEnded: the files of one can't be had, so nothing could be compared with it.
        """
        with self._transaction() as db:
            versions = model_versions.serving(db)
        for version in versions.values():
            self._is_here(version)
        return versions

    def _is_here(self, version: model_versions.Version) -> bool:
        """Fetch the version in service; False where its files can't be had and it makes way in any case."""
        try:
            self._patiently("fetch", lambda: self._store.fetched(version))
        except UNFETCHABLE as why:
            if version.knows_erased:
                log.warning("version %s of %s, which makes way, can't be fetched: %s", version.id, version.kind, why)
                return False
            lost = RunReason.CHAMPION_LOST
            raise RunEnded("failed", lost, id=version.id, kind=version.kind, why=sentence(why).rstrip(".")) from why
        return True

    def _patiently(self, step: str, work: Callable[[], object]) -> None:
        """Do it, for minutes again and again while the store is away. Runs that fail at these steps pause no trainings
        (`training_control`)."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                work()
                return
            except UNFETCHABLE as why:
                self._progress({"step": step, "why": str(why)}, now=True)
                if not isinstance(why, StoreAway) or time.monotonic() >= deadline:
                    raise
                log.warning("the run waits: %s", why)
                time.sleep(WAIT_SECONDS)
                self._say({IDLE: WAIT_SECONDS})
                self._budget.clock.idle(WAIT_SECONDS)

    def _evaluated(self, version: model_versions.Version) -> TaskModel | None:
        """The version in service as it was evaluated; none where it makes way in any case."""
        if not self._is_here(version):
            return None
        return load(self._store, BY_NAME[version.kind], version, evaluated=True).model

    def _base_in_service(self) -> TaskModel | None:
        """The LNIRT that serves, as it was evaluated; none where this release can't read it."""
        with self._transaction() as db:
            version = model_versions.serving(db).get(BASE)
        try:
            return self._evaluated(version) if version else None
        except (ValueError, LookupError):
            return None

    def _settled(self, made: Made, place: str) -> str:
        """The place of a new version, whose files are there on this machine and in the store."""
        artifacts.settle(made.place, self._store.model_dir, place)
        try:
            self._patiently("store", lambda: self._store.publish(self._store.model_dir / place, place))
        except (StoreAway, artifacts.DamagedFiles) as why:
            raise RunEnded("failed", RunReason.NOT_STORED, kind=made.kind, why=sentence(why).rstrip(".")) from why
        return place

    @contextmanager
    def _hired(self, training_set: TrainingSet, staging_place: str) -> Iterator[None]:
        """With Dask's workers, where there are to be some; a run that goes on is over sooner than it would find them.
        Their shards go with the staging folder: after the run, or when the next one begins where this is killed."""
        order = self._order
        if order.scheduler is None or not training_set.from_scratch:
            yield
            return
        self._progress({"step": "find workers"}, now=True)
        with self._workers.hired(order.scheduler, self._store.url, f"{staging_place}/{SHARDS}"):
            yield

    def _made(self, training_set: TrainingSet, staging: Path) -> tuple[list[Made], dict[str, str]]:
        """The models that could be fitted, in a folder that nobody looks into yet; and why the others could not."""
        made, failures = list[Made](), dict[str, str]()
        base = self._base_in_service()
        wanted = {*(self._order.kinds or self._order.trained), *(() if base else (BASE,))}
        begun: dict[str, Fit] | None = None
        for spec in reversed(MODELS):  # in the order of what they cost; the base before those that correct it
            if spec.name not in wanted:
                continue
            if begun is None and spec.name != BASE:
                begun = self._side_by_side(training_set, wanted - {BASE}, base)
            fit = (begun or {}).get(spec.name) or self._fit(training_set, spec, base)
            if fit is None:
                continue
            with self._transaction() as db:
                none_erased(db, training_set)  # else all that is to come would be for nothing
            self._progress({"step": f"fit {spec.name}"}, now=True)
            try:
                made.append(self._fitted(spec, fit, staging, base))
                base = made[-1].model if spec.name == BASE else base
            except ValueError as why:  # this one can't be fitted; the others may
                failures[spec.name] = sentence(why)
        return made, failures

    def _side_by_side(self, training_set: TrainingSet, kinds: set[str], base: TaskModel | None) -> dict[str, Fit]:
        """Of a run from scratch each network is a task of its own, and all begin at once; none where this process is to
        fit them, one after another."""
        if self._workers.are_here or not training_set.from_scratch:
            return {}
        specs, older = [spec for spec in reversed(MODELS) if spec.name in kinds], training_set.older
        with self._transaction() as db:
            settings = {spec.name: tuned(db, spec.name) for spec in specs}
        self._progress({"step": "share out"}, now=True)

        def begun() -> Iterator[Fitted | ValueError]:
            if self._workers.are_here:  # by now
                return iter(())
            tasks = [(kind, each, shared_out(kind, each, older)) for kind, each in settings.items()]
            return current().map(fit_network, tasks, base, (older.students, older.topics, older.items))

        results = self._workers.do(begun)

        def fit(spec: ModelSpec, say: Say) -> Fitted:
            if self._workers.are_here:
                return from_scratch(spec, older, settings[spec.name], base)(say)
            found = next(results)
            if isinstance(found, ValueError):
                raise found
            return found

        return {spec.name: partial(fit, spec) for spec in specs}

    def _fit(self, training_set: TrainingSet, spec: ModelSpec, base: TaskModel | None) -> Fit | None:
        """How this kind comes to a new model; none where it keeps its own until the next training from scratch."""
        older = training_set.older
        with self._transaction() as db:
            if training_set.from_scratch or (spec.update is None and training_set.is_full):
                taken = self._budget.taken(db, spec.name, older)
                return from_scratch(spec, taken, tuned(db, spec.name), base) if taken is not None else None
            found = model_versions.to_go_on_from(db, spec.name, CHECKPOINT)
            answering = next(iter(model_versions.serving(db)), None)
            corrected = _corrected(db, found) if found else ()
        earlier = self._on_disk(found)  # not in the transaction, which locks the run's row: a store may take its time
        load_checkpoint, update = spec.load_checkpoint, spec.update
        if earlier is None or load_checkpoint is None or update is None:
            return None
        fresh = fresh_rows(training_set, earlier.data_to, corrected)
        if spec.name not in (self._order.leading_kind, answering) and fresh.sum() < STANDING_BY:
            return None
        if not self._budget.may_go_on(spec.name):
            return None
        if not fresh.any():
            fresh = fresh.copy()  # the new ones are all held out: it learns from a sample and the newest of the others
            fresh[-1:] = True
        return lambda say: update(load_checkpoint(self._store.fetched(earlier)), older, fresh, say, base)

    def _on_disk(self, version: model_versions.Version | None) -> model_versions.Version | None:
        """The version that the run may go on from; none where its files are gone, or damaged.

        Raises StoreAway where the store does not tell.
        """
        if version is None:
            return None
        try:
            self._patiently("fetch", lambda: self._store.fetched(version))
        except (artifacts.DamagedFiles, OSError):
            log.exception("version %s of %s can't be gone on from", version.id, version.kind)
            return None
        return version

    def _fitted(self, spec: ModelSpec, fit: Fit, staging: Path, base: TaskModel | None) -> Made:
        started = self._budget.clock.seconds()
        fitted = self._workers.do(fit, lambda step: self._progress({**step, "step": f"fit {spec.name}"}))
        seconds = round(self._budget.clock.seconds() - started, 3)
        report = {"train_seconds": seconds, **fitted.report, **self._budget.cut_short()}
        place = staging / spec.name
        place.mkdir()
        fitted.save(place)
        return Made(spec.name, place, artifacts.hashes(place), report, on_base(spec.load(place), base))

    def _publish(
        self,
        findings: Findings,
        incumbents: Mapping[str, Incumbent],
        candidates: Sequence[Candidate],
        failures: Mapping[str, str],
        staging: str,
    ) -> dict[str, Any]:
        """Decide and record in one transaction; the files of those that leave go after it."""
        with self._transaction() as db:
            publication = Publication(db, findings, incumbents)
            result = publication.decide(candidates, failures)
            let_go = publication.record(result, candidates)
            training_runs.writes(db, findings.run_id, [staging, *let_go])  # it may have resisted being deleted
            serving = model_versions.serving(db)
        show_files(self._store.model_dir, serving.values())
        self._tidy()
        return result

    def _writes(self, folders: Sequence[str]) -> None:
        with self._transaction() as db:
            training_runs.writes(db, self._order.run_id, folders)

    def _tidy(self) -> None:
        """Delete what runs that have ended, this one too, let go of, and what they left when they were killed."""
        with Session(self._engine) as db, db.begin():
            left = training_runs.left_behind(db)
            gone = [name for name, is_kept in left.items() if is_kept or self._store.remove(name)]
            training_runs.tidied(db, gone)
            known = model_versions.folders(db)
        self._store.sweep(known)
        if not known:
            self._store.begin()

    def _progress(self, step: Mapping[str, Any], *, now: bool = False) -> bool:
        """Pass it on: every epoch to whoever listens, twice a second to the database. Whether the network at work has
        had its time."""
        self._say(step)
        if now:
            give_back()  # what the step before took
        if now or time.monotonic() >= self._next_progress:
            self._next_progress = time.monotonic() + PROGRESS_SECONDS
            with self._transaction() as db:
                training_runs.progress(db, self._order.run_id, step)
                model_tracker.note(db, {"state": "training", "run_id": self._order.run_id, "progress": step})
        return self._budget.is_over(step)

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        """A transaction while the run is this one's.

        Raises:
            RunEnded: another run took this one's place.
        """
        with Session(self._engine) as db, db.begin():
            if not training_runs.is_ours(db, self._order.run_id):
                raise RunEnded("interrupted", RunReason.TAKEN_OVER)
            yield db


def tuned(db: Session, kind: str) -> dict[str, Any] | None:
    """The settings that a tuning found for this kind; none where they don't fit the code, which is logged."""
    found = network_settings.read(db, kind)
    try:
        return checked(kind, found.settings) if found else None
    except ValueError as why:
        log.warning("the settings of %s in network_settings are ignored, its defaults hold: %s", kind, why)
        return None


def _corrected(db: Session, earlier: model_versions.Version) -> Sequence[attempts.Newest]:
    """What a run learns anew that goes on from this version."""
    return corrections.since(db, earlier.corrections, MOST_FRESH)


def shared_out(kind: str, settings: dict[str, Any] | None, older: Attempts) -> Sequence[object]:
    """The shards of what a network of this kind learns from."""
    from app.ml.networks import fit, side_by_side

    return side_by_side.shards(fit.sample(network(kind, settings), older))


def fit_network(task: tuple[str, dict[str, Any] | None, Sequence[Arrays]], base: TaskModel | None, names: Names) -> Any:
    """Fit one network, at a worker; a ValueError says why none came out."""
    from app.ml.networks import side_by_side

    kind, settings, shards = task
    older, past = side_by_side.joined(shards, names)
    started, tell = time.monotonic(), current().say
    try:
        with ONE_NETWORK:
            fitted = from_scratch(BY_NAME[kind], older, settings, base, past=past)(
                lambda step: tell({**step, "step": f"fit {kind}"})
            )
    except ValueError as why:
        return ValueError(sentence(why))
    return replace(cast(Any, fitted), report={**fitted.report, "train_seconds": round(time.monotonic() - started, 3)})


def from_scratch(
    spec: ModelSpec, older: Attempts, settings: dict[str, Any] | None, base: TaskModel | None, **more: Any
) -> Fit:
    """The training with these settings, or with the defaults where it fails with them."""

    def fit(say: Callable[[Mapping[str, Any]], object]) -> Fitted:
        try:
            return spec.fit(older, say, settings or None, base, **more)
        except (ValueError, TypeError) as why:
            if not settings:
                raise
            log.warning("%s can't be trained with its tuned settings, its defaults hold: %s", spec.name, sentence(why))
            return spec.fit(older, say, None, base, **more)

    return fit


def _finished(made: Made, training_set: TrainingSet) -> Made:
    """With what serves beside what was evaluated, where the kind is fitted once more on all tasks."""
    finish = BY_NAME[made.kind].finish
    if finish is None or not (training_set.is_full or training_set.from_scratch):
        return made
    finish(training_set.attempts, made.place)
    return replace(made, files=artifacts.hashes(made.place))


def get_ready(engine: Engine, order: Order) -> None:
    """Import what learns, which takes seconds, before any are counted; not where there is no memory for it."""
    learns_here = order.scheduler is None and set(order.kinds or order.trained) & set(NETWORKS)
    with Session(engine) as db:
        is_far_down = training_runs.rung(db)[0] >= LNIRT_ALONE
    if learns_here and networks_fit(order.memory_bytes) and not is_far_down:
        import keras  # noqa: F401


def _note_cost(engine: Engine, run_id: int, budget: Budget) -> None:
    """What the run took, for the next ones to plan by."""
    with suppress(SQLAlchemyError), Session(engine) as db, db.begin():
        training_runs.took(db, run_id, budget.clock.seconds(), peak())


def _end(
    engine: Engine, order: Order, outcome: str, message: str, overran: str | None = None, *, away: bool = False
) -> dict[str, Any]:
    """Record that the run published nothing, on a fresh connection: the run's own may be what failed.

    Where the database is away, the supervisor closes the run when it is back.
    """
    try:
        with Session(engine) as db, db.begin():
            record_failure(db, order.run_id, outcome, message, overran, away=away)
    except SQLAlchemyError as why:
        log.error("the run stays open, for the database is away: %s", reason(why))
    return {"outcome": outcome, "message": message, "overran": overran, "away": away}


def record_failure(
    db: Session, run_id: int, outcome: str, message: str, overran: str | None = None, *, away: bool = False
) -> bool:
    """The run ended without a version: its row and, unless it was merely superfluous, the tracker say why. False where
    the row said so already. `away`: for want of the database, which pauses no trainings (`training_control`)."""
    first = training_runs.finish(db, run_id, outcome, message, overran=overran)
    if first and away:
        training_runs.progress(db, run_id, {"step": "database"})
    if first and outcome != "merged":
        model_tracker.note(db, {"state": outcome, "message": message, "run_id": run_id})
    return first


def _is_outage(why: Exception) -> bool:
    return isinstance(why, SQLAlchemyError | psycopg2.Error) and outage(why) is not None


def sentence(why: Exception) -> str:
    if _is_outage(why):
        return f"{meaning(why)}."  # the log has the database's own words
    if isinstance(why, ValueError | AppError | artifacts.DamagedFiles):  # ours, or one that says what was wrong
        return str(why).splitlines()[0] if str(why) else type(why).__name__
    if isinstance(why, OSError) and why.strerror:
        return f"{why.strerror}: {why.filename!r}" if why.filename else why.strerror
    return f"{type(why).__name__}: {(str(why).splitlines() or ['no message'])[0]}"

"""One training run, from the lock to the new version. Runs in the training process."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.database import engine_for
from app.core.db.outages import reason
from app.crud import attempts, erasures, model_tracker, model_versions, network_settings, training_runs
from app.domain.attempts import Attempts
from app.domain.kinds import BASE, CHECKPOINT, NETWORKS, TRAINED
from app.ml.answers import TaskModel
from app.ml.features import learning_curve
from app.ml.features.drift import summary
from app.ml.registry import BY_NAME, MODELS, Fitted, ModelSpec
from app.ml.serving import artifacts
from app.ml.serving.model_order import UNLOADABLE, load, on_base, show_files
from app.ml.training.dataset import READ_WHOLE, TrainingSet, due_from_scratch, fresh_rows, some, whole
from app.ml.training.gate import HoldoutSet, drift
from app.ml.training.heartbeat import heartbeat
from app.ml.training.publication import Candidate, ErasedMeanwhile, Findings, Incumbent, Made, Publication, none_erased
from app.ml.training.tuned_settings import checked

log = logging.getLogger("smartstudy.training")
Say = Callable[[Mapping[str, Any]], None]
LOOK_AGAIN_SECONDS = 0.2  # whether it is this run's turn
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


class NothingToDo(Exception):
    """Another run took the tasks meanwhile."""


def too_few(tasks: int, least: int) -> str:
    """Why there is no training yet."""
    return f"{tasks} finished tasks are too few to train on; it starts at {least}."


class TooLittleData(ValueError):
    """There are not enough finished tasks to train on."""


def train(order: Order, say: Say) -> dict[str, Any]:
    """Do the run and record how it ended; what is returned says it too. Raises nothing that a run can meet."""
    engine = engine_for(order.database_url)
    try:
        with heartbeat(engine, order.run_id, order.silent_seconds, say), engine.connect() as writer:
            while not training_runs.take_turn(writer, order.run_id, order.silent_seconds):
                time.sleep(LOOK_AGAIN_SECONDS)
            return _train(writer, order, say)  # the lock is this connection's: whoever publishes, holds it
    except NothingToDo as why:
        return _end(engine, order, "merged", str(why))
    except ErasedMeanwhile as why:
        return _end(engine, order, "interrupted", str(why))
    except Exception as why:  # whatever it was, the model in use stays and the row says why
        log.exception("the run failed")
        return _end(engine, order, "failed", sentence(why))
    finally:
        engine.dispose()


def _train(writer: Connection, order: Order, say: Say) -> dict[str, Any]:
    tell = _Teller(writer, order.run_id, say)
    model_dir = Path(order.model_dir)
    training_set, holdout, incumbents = _before(writer, order, model_dir, tell)
    staging_place = artifacts.staging_place()
    _writes(writer, order, [staging_place])
    with artifacts.staged(model_dir, staging_place) as staging:
        made, failures = _made(writer, order, training_set, staging, tell)
        tell({"step": "judge"}, now=True)
        judged = [holdout.judge(each.model) for each in made]
        if incumbents is None:
            incumbents = _in_service(writer, holdout, model_dir)
        made = [_finished(each, training_set) for each in made]
        tell({"step": "publish"}, now=True)
        places = [artifacts.place(f"{each.kind}-{order.run_id}-{uuid4().hex[:12]}") for each in made]
        _writes(writer, order, [staging_place, *places])
        candidates = [
            Candidate(each, said, artifacts.settle(each.place, model_dir, place))
            for each, said, place in zip(made, judged, places, strict=True)
        ]
    effect = learning_curve.to_dict(learning_curve.estimated(training_set.attempts))
    findings = Findings(
        order.run_id, training_set, holdout, order.keep_versions, order.kinds, summary(training_set.older), effect
    )
    try:
        return _published(writer, findings, incumbents, candidates, failures, model_dir, staging_place)
    except ErasedMeanwhile:
        for candidate in candidates:
            artifacts.remove(model_dir, candidate.folder)
        raise


def _published(
    writer: Connection,
    findings: Findings,
    incumbents: Mapping[str, Incumbent],
    candidates: Sequence[Candidate],
    failures: Mapping[str, str],
    model_dir: Path,
    staging: str,
) -> dict[str, Any]:
    """Decide and record in one transaction; the files of those that leave go after it."""
    with _transaction(writer) as db:
        publication = Publication(db, findings, incumbents)
        result = publication.decide(candidates, failures)
        let_go = publication.record(result, candidates)
        training_runs.writes(db, findings.run_id, [staging, *let_go])  # it may have resisted being deleted
        serving = model_versions.serving(db)
    show_files(model_dir, serving.values())
    _tidy(writer, model_dir)
    return result


def _writes(writer: Connection, order: Order, folders: Sequence[str]) -> None:
    with _transaction(writer) as db:
        training_runs.writes(db, order.run_id, folders)


def _tidy(writer: Connection, model_dir: Path) -> None:
    """Delete what runs that have ended let go of, and what they left when they were killed."""
    with _transaction(writer) as db:
        gone = [
            folder
            for folder, is_kept in training_runs.left_behind(db).items()
            if is_kept or artifacts.remove(model_dir, folder)
        ]
        training_runs.tidied(db, gone)


Judging = tuple[TrainingSet, HoldoutSet, dict[str, Incumbent] | None]


def _before(writer: Connection, order: Order, model_dir: Path, tell: "_Teller") -> Judging:
    """The tasks, and the newest of them held out. A run that goes on looks first at how those in service do: where they
    have drifted, it starts from scratch instead. (A run from scratch judges them when it has fitted, minutes later.)"""
    with _transaction(writer) as db:
        training_runs.start(db, order.run_id)
    _tidy(writer, model_dir)
    tell({"step": "read"}, now=True)
    training_set, incumbents = _snapshot(writer, order), None
    holdout = HoldoutSet(training_set.attempts, training_set.first_judge)
    if not training_set.from_scratch:
        incumbents = _in_service(writer, holdout, model_dir)
        if why := _drifted(writer, training_set, incumbents):
            tell({"step": why}, now=True)
            with _snapshot_transaction(writer) as db:
                training_set, incumbents = whole(db, training_set.taken, from_scratch=True), None
            holdout = HoldoutSet(training_set.attempts, training_set.first_judge)
    with _transaction(writer) as db:
        training_runs.plan(db, order.run_id, training_set.from_scratch)
    return training_set, holdout, incumbents


def _drifted(writer: Connection, training_set: TrainingSet, incumbents: Mapping[str, Incumbent]) -> str | None:
    """Why to start from scratch after all; not again before there are some more tasks."""
    with _transaction(writer) as db:
        last = training_runs.last_from_scratch(db)
        if last is None or training_set.tasks < (1 + DRIFT_GROWTH) * (last.n_tasks or 0):
            return None
        for kind, now in incumbents.items():
            then = model_versions.of_run(db, last.id, kind)
            if BY_NAME[kind].update and then and now.judged:
                why = drift(f"Version {now.version.id} of {kind}", now.judged, then.scores)
                if why:
                    return why
    return None


def _made(
    writer: Connection, order: Order, training_set: TrainingSet, staging: Path, tell: "_Teller"
) -> tuple[list[Made], dict[str, str]]:
    """The models that could be fitted, in a folder that nobody looks into yet; and why the others could not."""
    made, failures = list[Made](), dict[str, str]()
    base = _base_in_service(writer, Path(order.model_dir))
    for kind in reversed(MODELS):  # in the order of what they cost; the base before those that correct it
        if kind.name not in _trained(order, base):
            continue
        fit = _way(writer, order, training_set, kind, base)
        if fit is None:
            continue
        with _transaction(writer) as db:
            none_erased(db, training_set)  # else all that is to come would be for nothing
        tell({"step": f"fit {kind.name}"}, now=True)
        try:
            made.append(_fitted(kind, fit, staging, tell, base))
            base = made[-1].model if kind.name == BASE else base
        except ValueError as why:  # this one can't be fitted; the others may
            failures[kind.name] = sentence(why)
    return made, failures


Fit = Callable[[Callable[[Mapping[str, Any]], None]], Fitted]


def _trained(order: Order, base: TaskModel | None) -> set[str]:
    """The kinds that the run trains: those that were asked for, and the base where none serves."""
    return {*(order.kinds or order.trained), *(() if base else (BASE,))}


def _base_in_service(writer: Connection, model_dir: Path) -> TaskModel | None:
    """The LNIRT that serves, as it was judged; none where it can't be loaded."""
    with _transaction(writer) as db:
        version = model_versions.serving(db).get(BASE)
    try:
        return load(model_dir, BY_NAME[BASE], version, judged=True).model if version else None
    except UNLOADABLE:
        return None


def _way(
    writer: Connection, order: Order, training_set: TrainingSet, kind: ModelSpec, base: TaskModel | None
) -> Fit | None:
    """How this kind comes to a new model; none where it keeps the one it has until the next training from scratch."""
    older = training_set.older
    if training_set.from_scratch or (kind.update is None and training_set.is_whole):
        return _from_scratch(kind, older, _tuned(writer, kind), base)
    with _transaction(writer) as db:
        earlier = _earlier(db, order, kind)
        answering = next(iter(model_versions.serving(db)), None)
    load_checkpoint, update = kind.load_checkpoint, kind.update
    if earlier is None or load_checkpoint is None or update is None:
        return None
    folder, fresh = Path(order.model_dir) / earlier.folder, fresh_rows(training_set, earlier.data_to)
    if kind.name not in (_leading(order), answering) and fresh.sum() < STANDING_BY:
        return None
    return lambda say: update(load_checkpoint(folder), older, fresh, say, base)


def _tuned(writer: Connection, kind: ModelSpec) -> dict[str, Any] | None:
    """The settings that a tuning found for this kind; none where they don't fit the code, which is logged."""
    with _transaction(writer) as db:
        found = network_settings.read(db, kind.name)
    if found is None:
        return None
    try:
        return checked(kind.name, found.settings)
    except ValueError as why:
        log.warning("the settings of %s in network_settings are ignored, its defaults hold: %s", kind.name, why)
        return None


def _from_scratch(kind: ModelSpec, older: Attempts, tuned: dict[str, Any] | None, base: TaskModel | None) -> Fit:
    """The training with these settings, or with the defaults where it fails with them."""
    if not tuned:
        return lambda say: kind.fit(older, say, None, base)

    def fit(say: Say) -> Fitted:
        try:
            return kind.fit(older, say, tuned, base)
        except (ValueError, TypeError) as why:
            log.warning("%s can't be trained with its tuned settings, its defaults hold: %s", kind.name, sentence(why))
            return kind.fit(older, say, None, base)

    return fit


def _earlier(db: Session, order: Order, kind: ModelSpec) -> model_versions.Version | None:
    """The version of this kind that the run may go on from; none where its files are not what was published."""
    version = model_versions.to_go_on_from(db, kind.name, CHECKPOINT)
    if version is None:
        return None
    try:
        artifacts.verify(Path(order.model_dir) / version.folder, version.files)
    except (artifacts.DamagedFiles, OSError):
        log.exception("version %s of %s can't be gone on from", version.id, kind.name)
        return None
    return version


def _fitted(kind: ModelSpec, fit: Fit, staging: Path, tell: "_Teller", base: TaskModel | None) -> Made:
    started = time.monotonic()
    fitted = fit(lambda step: tell({**step, "step": f"fit {kind.name}"}))
    report = {**fitted.report, "train_seconds": round(time.monotonic() - started, 3)}
    place = staging / kind.name
    place.mkdir()
    fitted.save(place)
    return Made(kind.name, place, artifacts.hashes(place), report, on_base(kind.load(place), base))


def _finished(made: Made, training_set: TrainingSet) -> Made:
    """With what serves beside what was judged, where the kind is fitted once more on all tasks."""
    finish = BY_NAME[made.kind].finish
    if finish is None or not training_set.is_whole:
        return made
    finish(training_set.attempts, made.place)
    return replace(made, files=artifacts.hashes(made.place))


def _in_service(writer: Connection, holdout: HoldoutSet, model_dir: Path) -> dict[str, Incumbent]:
    """The versions in service, judged. What can't be loaded is no rival, nor is what knows the rows that judge:

    versions from before there was a gate were fitted on everything.
    """
    with _transaction(writer) as db:
        versions = model_versions.serving(db)
    found = {}
    base = _base_in_service(writer, model_dir)
    for name, version in versions.items():
        if version.data_to is None:
            found[name] = Incumbent(version, None)
            continue
        try:
            model = load(model_dir, BY_NAME[name], version, judged=True).model
            found[name] = Incumbent(version, holdout.judge(on_base(model, base)))
        except (artifacts.DamagedFiles, OSError, ValueError, LookupError):
            log.exception("version %s of %s can't be judged", version.id, name)
            found[name] = Incumbent(version, None)
    return found


def _snapshot(writer: Connection, order: Order) -> TrainingSet:
    """The finished tasks that the run works with and how many of them the counter holds, of one moment."""
    with _snapshot_transaction(writer) as db:
        taken = model_tracker.read(db).since_training
        if not order.forced and taken < order.retrain_every and not erasures.pending(db):
            raise NothingToDo("Another run took these tasks.")
        tasks = attempts.count(db)
        if tasks < order.min_training_tasks:
            raise TooLittleData(too_few(tasks, order.min_training_tasks))
        last, before = training_runs.last_from_scratch(db), _earlier(db, order, BY_NAME[_leading(order)])
        growth, learnt = order.growth, before.n_tasks if before else None
        from_scratch = order.forced or due_from_scratch(tasks, last.n_tasks if last else None, growth, learnt)
        if from_scratch or tasks <= READ_WHOLE:
            return whole(db, taken, from_scratch)
        return some(db, tasks, taken, before.data_to if before else None, seed=order.run_id)


def _leading(order: Order) -> str:
    """The kind whose versions say whether there is something to go on from: the first network that is trained."""
    trained = order.kinds or order.trained
    return next((kind for kind in NETWORKS if kind in trained), BASE)


@contextmanager
def _snapshot_transaction(writer: Connection) -> Iterator[Session]:
    with _transaction(writer) as db:
        db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        yield db


def _end(engine: Engine, order: Order, outcome: str, message: str) -> dict[str, Any]:
    """Record that the run published nothing, on a fresh connection: the run's own may be what failed.

    Where the database is away, the supervisor closes the run when it is back.
    """
    try:
        with Session(engine) as db, db.begin():
            record_failure(db, order.run_id, outcome, message)
    except SQLAlchemyError as why:
        log.error("the run stays open, for the database is away: %s", reason(why))
    return {"outcome": outcome, "message": message}


def record_failure(db: Session, run_id: int, outcome: str, message: str) -> None:
    """The run ended without a version: its row and, unless it was merely superfluous, the tracker say why."""
    first = training_runs.finish(db, run_id, outcome, message)
    if first and outcome != "merged":
        model_tracker.note(db, {"state": outcome, "message": message, "run_id": run_id})


class _Teller:
    """Passes progress on: every epoch to whoever listens, twice a second to the database."""

    def __init__(self, writer: Connection, run_id: int, say: Say) -> None:
        self._writer, self._run_id, self._say = writer, run_id, say
        self._next = 0.0

    def __call__(self, step: Mapping[str, Any], *, now: bool = False) -> None:
        self._say(step)
        if now or time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.5
            with _transaction(self._writer) as db:
                training_runs.progress(db, self._run_id, step)
                model_tracker.note(db, {"state": "training", "run_id": self._run_id, "progress": step})


@contextmanager
def _transaction(writer: Connection) -> Iterator[Session]:
    with Session(writer) as db, db.begin():
        yield db


def sentence(why: Exception) -> str:
    if isinstance(why, ValueError):  # ours, or one that says what was wrong
        return str(why).splitlines()[0] if str(why) else type(why).__name__
    if isinstance(why, OSError) and why.strerror:
        return f"{why.strerror}: {why.filename}" if why.filename else why.strerror
    return f"{type(why).__name__}: {(str(why).splitlines() or ['no message'])[0]}"

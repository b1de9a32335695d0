"""One training run, from the lock to the new version. Runs in the training process."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from app.core.database import engine_for
from app.crud import attempts, model_tracker, model_versions, training_runs
from app.domain.attempts import Attempts
from app.ml import artifacts

Say = Callable[[Mapping[str, Any]], None]
NETWORK = "embedding_v2"  # without a new one a run has failed


@dataclass(frozen=True, slots=True)
class Order:
    """What to do, and where; crosses to the training process as JSON."""

    run_id: int
    database_url: str
    model_dir: str
    retrain_every: int
    min_training_tasks: int
    keep_versions: int
    forced: bool = False  # train even when the counter has not got there


class NothingToDo(Exception):
    """Another run took the tasks meanwhile."""


class TooLittleData(ValueError):
    """There are not enough finished tasks to train on."""


def train(order: Order, say: Say) -> dict[str, Any]:
    """Do the run and record how it ended; what is returned says it too. Raises nothing that a run can meet."""
    engine = engine_for(order.database_url)
    try:
        with engine.connect() as writer:
            training_runs.wait_for_turn(writer)  # held by this connection: whoever publishes, holds it
            writer.commit()
            return _train(writer, order, say)
    except NothingToDo as why:
        return _end(engine, order, "merged", str(why))
    except Exception as why:  # whatever it was, the model in use stays and the row says why
        traceback.print_exc()
        return _end(engine, order, "failed", _sentence(why))
    finally:
        engine.dispose()


def _train(writer: Connection, order: Order, say: Say) -> dict[str, Any]:
    tell = _Teller(writer, order.run_id, say)
    data, taken = _snapshot(writer, order)
    with artifacts.staged(Path(order.model_dir)) as staging:
        made, failures = [], {}
        for kind, fit in _fits(data, tell):
            try:
                made.append(_made(kind, staging, fit))
            except ValueError as why:  # this one can't be fitted; the other may
                failures[kind] = _sentence(why)
        tell({"step": "publish"}, now=True)
        return _publish(writer, order, made, failures, len(data), taken)


class _Fitted(Protocol):
    @property
    def report(self) -> dict[str, Any]: ...

    def save(self, folder: Path) -> None: ...


def _fits(data: Attempts, tell: "_Teller") -> Iterator[tuple[str, Callable[[], _Fitted]]]:
    """The kinds in the order of what they cost; what they bring (SciPy, TensorFlow) is no burden to the web process."""
    tell({"step": "fit LNIRT"}, now=True)
    from app.ml.lnirt_service import fit_lnirt

    yield "lnirt", lambda: fit_lnirt(data)
    tell({"step": "load TensorFlow"}, now=True)
    from app.ml.training import fit_v2

    yield "embedding_v2", lambda: fit_v2(data, progress=tell)


@dataclass(frozen=True, slots=True)
class _Made:
    """A fitted model whose files are on disk, in a folder that nobody looks into yet."""

    kind: str
    place: Path
    files: Mapping[str, str]
    report: Mapping[str, Any]


def _made(kind: str, staging: Path, fit: Callable[[], _Fitted]) -> _Made:
    started = time.monotonic()
    fitted = fit()
    report = {**fitted.report, "train_seconds": round(time.monotonic() - started, 3)}
    place = staging / kind
    place.mkdir()
    fitted.save(place)
    return _Made(kind, place, artifacts.hashes(place), report)


def _snapshot(writer: Connection, order: Order) -> tuple[Attempts, int]:
    """The finished tasks and how many of them the counter holds, of one moment."""
    with _transaction(writer) as db:
        training_runs.start(db, order.run_id)
    with _transaction(writer) as db:
        db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        taken = model_tracker.read(db).since_training
        if not order.forced and taken < order.retrain_every:
            raise NothingToDo("Another run took these tasks.")
        n = attempts.count(db)
        if n < order.min_training_tasks:
            raise TooLittleData(f"{n} finished tasks are too few to train on; it starts at {order.min_training_tasks}.")
        return attempts.read_all(db), taken


def _publish(
    writer: Connection, order: Order, made: list[_Made], failures: Mapping[str, str], n_tasks: int, taken: int
) -> dict[str, Any]:
    """Versions, counter and run in one transaction, on the connection that holds the lock; then the links.

    Without a network the run has failed and the counter keeps its tasks; LNIRT is published all the same.
    """
    model_dir = Path(order.model_dir)
    folders = {
        m.kind: artifacts.settle(m.place, model_dir, f"{m.kind}-{order.run_id}-{uuid4().hex[:12]}") for m in made
    }
    with _transaction(writer) as db:
        ids = {
            each.kind: model_versions.publish(
                db,
                kind=each.kind,
                folder=folders[each.kind],
                files=each.files,
                n_tasks=n_tasks,
                report=each.report,
                run_id=order.run_id,
            )
            for each in made
        }
        gone = [folder for kind in ids for folder in model_versions.prune(db, kind, order.keep_versions)]
        result = _outcome(ids, failures, n_tasks)
        if NETWORK in ids:
            model_tracker.trained(db, n_tasks=n_tasks, taken=taken, model_version=NETWORK)
        reports = {each.kind: each.report for each in made}
        model_tracker.note(db, {"state": result["outcome"], **result, "run_id": order.run_id, "report": reports})
        training_runs.finish(db, order.run_id, result["outcome"], result["message"], n_tasks=n_tasks, taken=taken)
    if NETWORK in folders:
        artifacts.show(model_dir, folders[NETWORK])
    for old in gone:
        artifacts.remove(model_dir, old)
    return result


def _outcome(ids: Mapping[str, int], failures: Mapping[str, str], n_tasks: int) -> dict[str, Any]:
    """How the run ended, in a sentence."""
    parts = [f"{kind} could not be trained: {why.rstrip('.')}." for kind, why in failures.items()]
    if NETWORK in ids:
        parts.insert(0, f"Version {ids[NETWORK]} of {NETWORK} was trained on {n_tasks} tasks and serves.")
    elif ids:
        parts.append(
            "The network in use stays; " + " and ".join(f"version {v} of {k}" for k, v in ids.items()) + " is new."
        )
    outcome = "published" if NETWORK in ids else "failed"
    return {"outcome": outcome, "message": " ".join(parts), "n_tasks": n_tasks, "version_id": ids.get(NETWORK)}


def _end(engine: Engine, order: Order, outcome: str, message: str) -> dict[str, Any]:
    """Record that the run published nothing, on a fresh connection: the run's own may be what failed."""
    with Session(engine) as db, db.begin():
        record_failure(db, order.run_id, outcome, message)
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


def _sentence(why: Exception) -> str:
    if isinstance(why, ValueError):  # ours, or one that says what was wrong
        return str(why).splitlines()[0] if str(why) else type(why).__name__
    return f"{type(why).__name__}: {(str(why).splitlines() or ['no message'])[0]}"

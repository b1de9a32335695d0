"""One training run, from the lock to the new version. Runs in the training process."""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from app.core.database import engine_for
from app.crud import attempts, model_tracker, model_versions, training_runs
from app.domain.attempts import Attempts
from app.ml import artifacts
from app.ml.gate import Court, cut
from app.ml.kinds import BY_NAME, KINDS, Kind
from app.ml.publication import Candidate, Findings, Incumbent, Made, Publication
from app.ml.serving import load, show_files

Say = Callable[[Mapping[str, Any]], None]


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
    kinds: Sequence[str] | None = None  # only these; none: all of them


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
        with engine.connect() as writer:
            training_runs.wait_for_turn(writer)  # held by this connection: whoever publishes, holds it
            writer.commit()
            return _train(writer, order, say)
    except NothingToDo as why:
        return _end(engine, order, "merged", str(why))
    except Exception as why:  # whatever it was, the model in use stays and the row says why
        traceback.print_exc()
        return _end(engine, order, "failed", sentence(why))
    finally:
        engine.dispose()


def _train(writer: Connection, order: Order, say: Say) -> dict[str, Any]:
    tell = _Teller(writer, order.run_id, say)
    data, taken = _snapshot(writer, order)
    model_dir = Path(order.model_dir)
    with artifacts.staged(model_dir) as staging:
        made, failures = _made(order, data, staging, tell)
        tell({"step": "judge"}, now=True)
        court = Court(data)
        judged = [court.judge(each.model) for each in made]
        incumbents = _in_service(writer, court, model_dir)
        tell({"step": "publish"}, now=True)
        candidates = [
            Candidate(
                each, said, artifacts.settle(each.place, model_dir, f"{each.kind}-{order.run_id}-{uuid4().hex[:12]}")
            )
            for each, said in zip(made, judged, strict=True)
        ]
    findings = Findings(order.run_id, data, taken, court, order.keep_versions)
    with _transaction(writer) as db:
        publication = Publication(db, findings, incumbents)
        result = publication.decide(candidates, failures)
        gone = publication.record(result, candidates)
        serving = model_versions.serving(db)
    show_files(model_dir, serving.values())
    for folder in gone:
        artifacts.remove(model_dir, folder)
    return result


def _made(order: Order, data: Attempts, staging: Path, tell: "_Teller") -> tuple[list[Made], dict[str, str]]:
    """The models that could be fitted, in a folder that nobody looks into yet; and why the others could not."""
    older = data.take(slice(cut(len(data))))
    made, failures = [], {}
    for kind in reversed(KINDS):  # in the order of what they cost
        if order.kinds is not None and kind.name not in order.kinds:
            continue
        tell({"step": f"fit {kind.name}"}, now=True)
        try:
            made.append(_fitted(kind, older, staging, tell))
        except ValueError as why:  # this one can't be fitted; the others may
            failures[kind.name] = sentence(why)
    return made, failures


def _fitted(kind: Kind, older: Attempts, staging: Path, tell: "_Teller") -> Made:
    started = time.monotonic()
    fitted = kind.fit(older, lambda step: tell({**step, "step": f"fit {kind.name}"}))
    report = {**fitted.report, "train_seconds": round(time.monotonic() - started, 3)}
    place = staging / kind.name
    place.mkdir()
    fitted.save(place)
    return Made(kind.name, place, artifacts.hashes(place), report, kind.load(place))


def _in_service(writer: Connection, court: Court, model_dir: Path) -> dict[str, Incumbent]:
    """The versions in service, judged. What can't be loaded is no rival, nor is what knows the rows that judge:

    versions from before there was a gate were fitted on everything.
    """
    with _transaction(writer) as db:
        versions = model_versions.serving(db)
    found = {}
    for name, version in versions.items():
        if version.data_to is None:
            found[name] = Incumbent(version, None)
            continue
        try:
            model = load(model_dir, BY_NAME[name], version).model
            found[name] = Incumbent(version, court.judge(model))
        except (artifacts.DamagedFiles, OSError, ValueError, LookupError):
            traceback.print_exc()
            found[name] = Incumbent(version, None)
    return found


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
            raise TooLittleData(too_few(n, order.min_training_tasks))
        return attempts.read_all(db), taken


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


def sentence(why: Exception) -> str:
    if isinstance(why, ValueError):  # ours, or one that says what was wrong
        return str(why).splitlines()[0] if str(why) else type(why).__name__
    return f"{type(why).__name__}: {(str(why).splitlines() or ['no message'])[0]}"

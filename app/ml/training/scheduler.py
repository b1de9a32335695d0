"""When to train: a background thread with its own session, one run at work and at most one waiting."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.database import database_url, new_session
from app.core.db.outages import tell
from app.core.settings import settings
from app.crud import attempts, audit, erasures, model_tracker, training_control, training_runs
from app.domain.actors import Actor
from app.domain.errors import NotAccepted, TrainingBusy
from app.ml.training.reasons import RunReason
from app.ml.training.run import Order, Say, record_failure
from app.ml.training.worker import TrainingDied, TrainingProcess

log = logging.getLogger("smartstudy.training")
LETTING_GO_SECONDS = 0.2  # a run that is just beginning lets go of the place where the next one waits
TRAINED = ("published", "rejected")  # models came out, whether or not they serve


def silent(_: Mapping[str, Any]) -> None:
    """Nobody listens."""


class Trainer:
    """Supervises the training process. `request` and `ask` return at once; everything else may take its time."""

    def __init__(self, process: TrainingProcess | None = None, on_published: Callable[[], None] | None = None) -> None:
        self._process = process or TrainingProcess()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="training")
        self._waiting = threading.BoundedSemaphore(1)
        self._asked: int | None = None  # the run that waits, if it was asked for
        self._idle: threading.Timer | None = None
        self._closing = False
        self._ended: deque[tuple[int, Mapping[str, Any]]] = deque()  # runs whose end is not recorded yet
        self._recording = threading.Lock()
        self.on_published = on_published

    @property
    def pid(self) -> int | None:
        """Of the training process, while there is one."""
        return self._process.pid

    def request(self) -> None:
        """Train soon. Requests made while one waits become that one: it will see all their tasks."""
        if not self._closing and self._waiting.acquire(blocking=False):  # held until that run starts
            self._pool.submit(self._in_turn, self._train_if_due)

    def ask(self, kinds: Sequence[str] | None = None, actor: Actor | None = None) -> int:
        """Train these kinds (none: all) soon, whatever the counter says; the id of the run. `actor` is who asks.

        Raises:
            NotAccepted: there are too few finished tasks.
            TrainingBusy: one training is at work and one is waiting, here or in another process.
        """
        with new_session().begin() as db:
            if why := not_enough(db):
                raise NotAccepted(why)
        if self._closing or not self._waiting.acquire(timeout=LETTING_GO_SECONDS):
            raise TrainingBusy
        try:
            with new_session().begin() as db:
                run_id = training_runs.ask_if_free(db, kinds, settings().trainer_silent_seconds)
                _record(db, actor, run_id, kinds)
            self._asked = run_id
            self._pool.submit(self._in_turn, partial(self._train_as_asked, run_id, kinds))
            return run_id
        except BaseException:
            self._waiting.release()
            raise

    def train_now(
        self,
        say: Say = silent,
        *,
        forced: bool = True,
        kinds: Sequence[str] | None = None,
        actor: Actor | None = None,
    ) -> dict[str, Any]:
        """Train and wait for it: {"outcome", "message", ...}. Too few tasks are no run, and no failure of one."""
        with new_session().begin() as db:
            if why := not_enough(db):
                model_tracker.note(db, {"state": "failed", "message": why})
                return {"outcome": "failed", "message": why}
            run_id = training_runs.ask(db, kinds)
            _record(db, actor, run_id, kinds)
        return self._train(_order(run_id, forced, kinds), say)

    def poll(self) -> None:
        """Ask for a training that is due and that nobody asks for: its time to wait is over, or who should have, died.

        Call it every second or so; raises what a database that is away does.
        """
        with new_session().begin() as db:
            if self._asked is not None:
                training_runs.seen(db, self._asked)
            wanted = may_begin(db)
        self._record_what_ended()
        if wanted:
            self.request()

    def close(self) -> None:
        """Give up what runs; the tasks it took stay counted."""
        self._closing = True
        self._stop_idling()
        self._process.close()
        self._pool.shutdown(cancel_futures=True)
        self._give_up_what_waits()

    def _in_turn(self, work: Callable[[], None]) -> None:
        if self._closing:
            return
        self._asked = None
        self._waiting.release()
        self._stop_idling()
        try:
            work()
        except Exception as why:
            tell(log, "the training could not be started", why)
        self._start_idling()

    def _train_if_due(self) -> None:
        with new_session().begin() as db:
            run_id = training_runs.ask_if_idle(db, settings().trainer_silent_seconds) if may_begin(db) else None
        if run_id is not None and self._train(_order(run_id, False, None), silent)["outcome"] in TRAINED:
            self._request_if_due()

    def _train_as_asked(self, run_id: int, kinds: Sequence[str] | None) -> None:
        self._train(_order(run_id, True, kinds), silent)
        self._request_if_due()  # while this one waited, nobody else could

    def _request_if_due(self) -> None:
        with new_session().begin() as db:
            wanted = may_begin(db)
        if wanted:
            self.request()

    def _train(self, order: Order, say: Say) -> dict[str, Any]:
        result = self._supervised(order, say)
        log.info("training run %s: %s", order.run_id, result["message"], extra={"run_id": order.run_id})
        self._ended.append((order.run_id, result))
        with suppress(SQLAlchemyError):  # the database is away: `poll` does it when it is back
            self._record_what_ended()
        if result["outcome"] == "published" and self.on_published:
            self.on_published()
        return result

    def _record_what_ended(self) -> None:
        """Close the run, where its own process could not, and let failures hold up the next."""
        with self._recording:
            while self._ended:
                run_id, result = self._ended[0]
                with new_session().begin() as db:
                    paused = recorded(db, run_id, result["outcome"], result["message"])
                if paused:
                    log.error("Trainings are paused: %s. `smartstudy resume` goes on.", paused.rstrip("."))
                self._ended.popleft()

    def _give_up_what_waits(self) -> None:
        if self._asked is None:
            return
        try:
            with new_session().begin() as db:
                training_runs.finish(db, self._asked, "interrupted", RunReason.STOPPED_BEFORE.value)
        except SQLAlchemyError:
            log.warning("run %s stays open, for the database does not answer", self._asked)

    def _supervised(self, order: Order, say: Say) -> dict[str, Any]:
        try:
            return self._process.train(order, say, settings().training_timeout_seconds)
        except TrainingDied as why:
            if self._closing:
                return {"outcome": "interrupted", "message": RunReason.STOPPED.value}
            return {"outcome": "failed", "message": str(why)}

    def _start_idling(self) -> None:
        """A warm process holds 500 MB: after a while without work it goes."""
        if not self._closing:
            end = (self._process.close,)  # in the pool, so never in the middle of a run
            self._idle = threading.Timer(settings().trainer_idle_seconds, self._pool.submit, end)
            self._idle.daemon = True
            self._idle.start()

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()


def recorded(db: Session, run_id: int, outcome: str, message: str) -> str | None:
    """Note how a run ended; why trainings are paused now, where it was one failure too many."""
    if outcome in TRAINED:
        training_control.after_success(db)
        return None
    record_failure(db, run_id, outcome, message)  # where the run did so itself, nothing happens
    if outcome != "failed" or (why := training_control.after_failure(db)) is None:
        return None
    model_tracker.note(db, {"state": "paused", "message": f"Trainings are paused: {why}"})
    return why


def is_due(db: Session) -> bool:
    """Enough finished tasks since the last training, or somebody erased whom those in service know; enough in all."""
    if model_tracker.read(db).since_training < settings().retrain_every and not erasures.pending(db):
        return False
    return attempts.count(db) >= settings().min_training_tasks


def may_begin(db: Session) -> bool:
    """A training is due, and neither a pause nor failures shortly before hold it up."""
    return is_due(db) and training_control.read(db).may_begin


def not_enough(db: Session) -> str | None:
    """Where there are too few finished tasks, the sentence that the run itself would end with."""
    n, least = attempts.count(db), settings().min_training_tasks
    return RunReason.TOO_FEW_TASKS.said(tasks=n, least=least).text if n < least else None


def _record(db: Session, actor: Actor | None, run_id: int, kinds: Sequence[str] | None) -> None:
    """A training that a person asked for stands in the audit."""
    if actor is not None:
        audit.record(db, actor, "training asked", f"run {run_id}", kinds=list(kinds or settings().trained_kinds()))


def _order(run_id: int, forced: bool, kinds: Sequence[str] | None) -> Order:
    given = settings()
    return Order(
        run_id,
        database_url(),
        str(given.model_dir),
        given.retrain_every,
        given.min_training_tasks,
        given.keep_versions,
        forced,
        kinds,
        given.full_training_growth,
        given.trainer_silent_seconds,
        given.trained_kinds(),
    )


@lru_cache
def trainer() -> Trainer:
    """The one trainer of this process."""
    return Trainer()

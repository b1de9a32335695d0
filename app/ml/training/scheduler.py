"""When to train: a background thread with its own session, one run at work and at most one waiting."""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.database import database_url, new_session
from app.core.db.outages import tell
from app.core.settings import settings
from app.crud import attempts, audit, erasures, model_tracker, trainers, training_control, training_runs
from app.domain.actors import Actor
from app.domain.errors import NotAccepted
from app.ml.training.budget import memory_limit, resident
from app.ml.training.heartbeat import PER_SILENCE
from app.ml.training.reasons import RunReason
from app.ml.training.run import Order, Say, record_failure
from app.ml.training.worker import TrainingDied, TrainingProcess

log = logging.getLogger("smartstudy.training")
FOLLOW_SECONDS = 0.5  # between two looks at a run that another process does
NO_TRAINER = "no trainer has been seen lately; `smartstudy trainer` starts one"
TRAINED = ("published", "rejected")  # models came out, whether or not they serve


def silent(_: Mapping[str, Any]) -> None:
    """Nobody listens."""


class Trainer:
    """Supervises the training process, or leaves that to trainers elsewhere. `request` and `order` return at once;
    everything else may take its time."""

    def __init__(
        self,
        process: TrainingProcess | None = None,
        on_published: Callable[[], None] | None = None,
        *,
        is_here: bool = True,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._is_here = is_here
        self._process = process or TrainingProcess()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="training")
        self._waiting = threading.BoundedSemaphore(1)
        self._begins: int | None = None  # the run that is about to begin, or at work
        self._next_sign = 0.0
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
        """Train soon, where trainings are done here. Requests made while one waits become that one: it will see all
        their tasks."""
        if self._is_here and not self._closing and self._waiting.acquire(blocking=False):  # held until that run starts
            self._pool.submit(self._in_turn)

    def order(self, kinds: Sequence[str] | None = None, actor: Actor | None = None) -> int:
        """Have any trainer train these kinds (none: all) soon, whatever the counter says; the id of the run. `actor` is
        who asks.

        Raises:
            NotAccepted: there are too few finished tasks.
            TrainingBusy: one training is at work and one is waiting, here or in another process.
        """
        with new_session().begin() as db:
            if why := not_enough(db):
                raise NotAccepted(why)
            run_id = training_runs.order(db, kinds, settings().trainer_silent_seconds)
            _record(db, actor, run_id, kinds)
        self.request()
        return run_id

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
        if not self._is_here:
            return _followed(self.order(kinds, actor), say)
        with new_session().begin() as db:
            run_id = training_runs.ask(db, kinds, self.name)
            _record(db, actor, run_id, kinds)
        return self._train(_order(run_id, forced, kinds, self.pid), say)

    def poll(self) -> None:
        """Begin a training that was ordered, or that is due and that nobody asks for: its time to wait is over, or who
        should have, died.

        Call it every second or so; raises what a database that is away does.
        """
        if not self._is_here:
            return
        with new_session().begin() as db:
            self._give_sign(db)
            wanted = self._is_wanted(db)
        self._record_what_ended()
        if wanted:
            self.request()

    def close(self) -> None:
        """Give up what runs; the tasks it took stay counted, and what was ordered waits for another trainer."""
        self._closing = True
        self._stop_idling()
        self._process.close()
        self._pool.shutdown(cancel_futures=True)
        if self._is_here:
            try:
                with new_session().begin() as db:
                    trainers.leave(db, self.name)
            except SQLAlchemyError:
                log.warning("the database does not answer: others believe for a while that this trainer lives")

    def _give_sign(self, db: Session) -> None:
        """Say that this process lives, and the run that it is about to begin; of one at work its child says so."""
        training_runs.none_seen_later(db)
        if self._begins is not None:
            training_runs.begins(db, self._begins)
        if time.monotonic() >= self._next_sign:
            trainers.seen(db, self.name)
            self._next_sign = time.monotonic() + settings().trainer_silent_seconds / PER_SILENCE

    def _is_wanted(self, db: Session) -> bool:
        return training_runs.is_order_waiting(db, settings().trainer_silent_seconds) or may_begin(db)

    def _in_turn(self) -> None:
        if self._closing:
            return
        self._waiting.release()
        self._stop_idling()
        try:
            with new_session().begin() as db:
                order = self._next(db)
            if order and (self._train(order, silent)["outcome"] in TRAINED or order.forced):
                self._request_if_wanted()  # while this one was at work, nobody else could
        except Exception as why:
            tell(log, "the training could not be started", why)
        self._start_idling()

    def _next(self, db: Session) -> Order | None:
        """What was ordered first, or else what is due; none while another trainer is at work."""
        silent_seconds = settings().trainer_silent_seconds
        if ordered := training_runs.take(db, self.name, silent_seconds):
            return _order(ordered.id, True, ordered.kinds, self.pid)
        run_id = training_runs.ask_if_idle(db, self.name, silent_seconds) if may_begin(db) else None
        return None if run_id is None else _order(run_id, False, None, self.pid)

    def _request_if_wanted(self) -> None:
        with new_session().begin() as db:
            wanted = self._is_wanted(db)
        if wanted:
            self.request()

    def _train(self, order: Order, say: Say) -> dict[str, Any]:
        self._begins = order.run_id
        result = self._supervised(order, say)
        self._begins = None
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
                    paused = recorded(db, run_id, result)
                if paused:
                    log.error("Trainings are paused: %s. `smartstudy resume` goes on.", paused.rstrip("."))
                self._ended.popleft()

    def _supervised(self, order: Order, say: Say) -> dict[str, Any]:
        try:
            return self._process.train(order, say, settings().training_timeout_seconds)
        except TrainingDied as why:
            if self._closing:
                return {"outcome": "interrupted", "message": RunReason.STOPPED.value}
            died = {"overran": why.overran, "seconds": why.seconds, "peak_bytes": why.peak_bytes}
            return {"outcome": "failed", "message": str(why), **died}

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


def recorded(db: Session, run_id: int, result: Mapping[str, Any]) -> str | None:
    """Note how a run ended; why trainings are paused now, where it was one failure too many."""
    outcome = result["outcome"]
    if outcome in TRAINED:
        training_control.after_success(db)
        return None
    if result.get("seconds"):
        training_runs.took(db, run_id, result["seconds"], result["peak_bytes"])
    overran, away = result.get("overran"), bool(result.get("away"))
    is_news = record_failure(db, run_id, outcome, result["message"], overran, away=away)  # the run said nothing itself
    if is_news and outcome == "interrupted":
        training_runs.do_again(db, run_id)
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


def _followed(run_id: int, say: Say) -> dict[str, Any]:
    """How the run ended that a trainer elsewhere does; what it does meanwhile is said."""
    said: Mapping[str, Any] = {}
    while True:
        with new_session().begin() as db:
            run = training_runs.find(db, run_id)
            alive = trainers.alive(db, settings().trainer_silent_seconds)
        if run is None or run.finished_at is not None:
            found = (run.outcome, run.message, run.n_tasks) if run else ("interrupted", "The run is gone.", None)
            return dict(zip(("outcome", "message", "n_tasks"), found, strict=True))
        step = run.progress or {"step": f"run {run_id} waits" + ("" if alive else f": {NO_TRAINER}")}
        if step != said:
            say(step)
        said = step
        time.sleep(FOLLOW_SECONDS)


def _record(db: Session, actor: Actor | None, run_id: int, kinds: Sequence[str] | None) -> None:
    """A training that a person asked for stands in the audit."""
    if actor is not None:
        audit.record(db, actor, "training asked", f"run {run_id}", kinds=list(kinds or settings().trained_kinds()))


def _order(run_id: int, forced: bool, kinds: Sequence[str] | None, pid: int | None = None) -> Order:
    """`pid`: of the training process, where it is warm."""
    given, held = settings(), resident(pid) if pid else 0
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
        given.model_url,
        given.scheduler(),
        seconds=given.training_timeout_seconds,
        memory_bytes=memory_limit(given.training_memory_mb, held),
    )


@lru_cache
def trainer() -> Trainer:
    """The one of this process; with TRAINER=elsewhere it only asks."""
    return Trainer(is_here=settings().trainer == "here")

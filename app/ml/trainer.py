"""When to train: a background thread with its own session, one run at work and at most one waiting."""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from sqlalchemy.orm import Session

from app.core.database import database_url, new_session
from app.core.settings import settings
from app.crud import attempts, model_tracker, training_runs
from app.ml.training_process import TrainingDied, TrainingProcess
from app.ml.training_run import Order, record_failure

log = logging.getLogger("smartstudy.training")


def silent(_: Mapping[str, Any]) -> None:
    """Nobody listens."""


class Trainer:
    """Supervises the training process. `request` returns at once; everything else may take its time."""

    def __init__(self, process: TrainingProcess | None = None, on_published: Callable[[], None] | None = None) -> None:
        self._process = process or TrainingProcess()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="training")
        self._waiting = threading.BoundedSemaphore(1)
        self._idle: threading.Timer | None = None
        self._closing = False
        self.on_published = on_published

    @property
    def pid(self) -> int | None:
        """Of the training process, while there is one."""
        return self._process.pid

    def request(self) -> None:
        """Train soon. Requests made while one waits become that one: it will see all their tasks."""
        if not self._closing and self._waiting.acquire(blocking=False):  # held until that run starts
            self._pool.submit(self._run)

    def train_now(self, say: Callable[[Mapping[str, Any]], None] = silent, *, forced: bool = True) -> dict[str, Any]:
        """Train and wait for it: {"outcome", "message", ...}."""
        with new_session().begin() as db:
            run_id = training_runs.ask(db)
        result = self._supervised(_order(run_id, forced), say)
        log.info("training run %s: %s", run_id, result["message"])
        if result["outcome"] == "published" and self.on_published:
            self.on_published()
        return result

    def close(self) -> None:
        """Give up what runs; the tasks it took stay counted."""
        self._closing = True
        self._stop_idling()
        self._process.close()
        self._pool.shutdown(cancel_futures=True)

    def _run(self) -> None:
        self._waiting.release()
        self._stop_idling()
        try:
            with new_session().begin() as db:
                wanted = is_due(db)
            if wanted and self.train_now(forced=False)["outcome"] == "published":
                with new_session().begin() as db:
                    if is_due(db):  # what came meanwhile
                        self.request()
        except Exception:
            log.exception("the training could not be started")
        self._start_idling()

    def _supervised(self, order: Order, say: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
        try:
            return self._process.train(order, say, settings().training_timeout_seconds)
        except TrainingDied as why:
            outcome, message = "failed", str(why)
            if self._closing:
                outcome, message = "interrupted", "The service was stopped in the middle of the run."
            with new_session().begin() as db:
                record_failure(db, order.run_id, outcome, message)
            return {"outcome": outcome, "message": message}

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


def is_due(db: Session) -> bool:
    """Enough finished tasks since the last training, and enough in all."""
    if model_tracker.read(db).since_training < settings().retrain_every:
        return False
    return attempts.count(db) >= settings().min_training_tasks


def _order(run_id: int, forced: bool) -> Order:
    given = settings()
    return Order(
        run_id,
        database_url(),
        str(given.model_dir),
        given.retrain_every,
        given.min_training_tasks,
        given.keep_versions,
        forced,
    )


@lru_cache
def trainer() -> Trainer:
    """The one trainer of this process."""
    return Trainer()

"""A run says every few seconds that it lives: to the database, for other processes, and to whoever supervises it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.crud import training_runs

ALIVE = {"alive": True}
PER_SILENCE = 6  # beats in the time after which a process is taken for dead


@contextmanager
def heartbeat(
    engine: Engine,
    run_id: int,
    silent_seconds: float,
    say: Callable[[Mapping[str, Any]], None],
    keep_turn: Callable[[], None],
) -> Iterator[None]:
    """Beat until the end of the block. A process that was stopped, or hangs as a whole, doesn't."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(silent_seconds / PER_SILENCE):
            say(ALIVE)
            try:
                with Session(engine) as db, db.begin():
                    training_runs.seen(db, run_id)
                keep_turn()
            except SQLAlchemyError:
                continue  # the database is away, and with it everybody who could miss us

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(silent_seconds / PER_SILENCE)

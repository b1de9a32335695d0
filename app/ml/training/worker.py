"""A child process that trains on demand and stays warm: TensorFlow is imported there, once, and nowhere else.

Orders and answers are lines of JSON. Killed, hung or out of memory, it takes nothing with it; without a parent it ends.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from app.core.observability import logs, tracing
from app.core.one_thread import ONE_THREAD
from app.core.settings import APP
from app.ml.training.budget import (
    BEGINS,
    IDLE,
    WorkClock,
    address_limit,
    is_ready,
    killed_for_memory,
    overdue,
    processor_seconds,
    resident,
)
from app.ml.training.heartbeat import ALIVE
from app.ml.training.reasons import RunReason
from app.ml.training.run import Order, Say

NICENESS = 10
LOOK_SECONDS = 0.25  # between two looks at what a child has taken
NO_MEMORY = (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV)  # what ends a process that gets none
RUNS_AT_MOST = 50  # of one process: TensorFlow keeps something of each (0.8 MB were seen), so that it never gets far
FORGET_EVERY = 10  # runs; the one after takes half a second longer
OUT_OF_MEMORY_FIRST = "500"  # of 1000: when memory runs out, Linux ends this process before those that serve
# Our package is found by its place, whatever else is called `app` where the command began, or on PYTHONPATH.
# SIGTERM is the parent's to handle too: systemd sends it to all processes of a service at once.
START = """import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
import sys; sys.path.insert(0, sys.argv[1]); import app; del sys.path[0]
from app.ml.training.worker import serve_orders; serve_orders()"""


class TrainingDied(RuntimeError):
    """The training process ended in the middle of a run, which took so many seconds of work and, where it `overran`,
    more time or memory than there is."""

    def __init__(self, message: str, overran: str | None = None, seconds: float = 0.0, peak_bytes: int = 0) -> None:
        super().__init__(message)
        self.overran, self.seconds, self.peak_bytes = overran, seconds, peak_bytes


class _Watchdog:
    """Ends a child that takes too long or too much memory, or that is not heard of: one that was stopped, or hangs."""

    def __init__(
        self, child: "subprocess.Popen[str]", seconds: float, silent_seconds: float, limit: int | None = None
    ) -> None:
        self._child, self._seconds, self._silent_seconds, self._limit = child, seconds, silent_seconds, limit
        self._killed_before = killed_for_memory()
        self._clock: WorkClock | None = None  # none: its seconds don't count yet
        self._peak = 0
        self._silent = 0.0  # seconds that both were awake: a machine that slept or is busy is no fault of the child's
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="training-watchdog", daemon=True)
        self.why_ended: RunReason | None = None

    def __enter__(self) -> "_Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def heard(self) -> None:
        self._silent = 0.0

    def begins(self) -> None:
        """From now on its seconds count: it has its turn, and has imported what it needs."""
        self._clock = WorkClock(self._child.pid)

    def idle(self, seconds: float) -> None:
        if self._clock:
            self._clock.idle(seconds)

    def _watch(self) -> None:
        step = min(LOOK_SECONDS, self._silent_seconds / 10, self._seconds / 10)
        had = processor_seconds(self._child.pid)
        while not self._over.wait(step):
            before, had = had, processor_seconds(self._child.pid)
            self._silent += min(had - before, step) if is_ready(self._child.pid) else step
            held = resident(self._child.pid)
            self._peak = max(self._peak, held)
            if self._worked() >= overdue(self._seconds):
                self.why_ended = RunReason.TOO_LONG
            elif self._limit and held > self._limit:
                self.why_ended = RunReason.TOO_MUCH
            elif self._silent > self._silent_seconds:
                self.why_ended = RunReason.SILENT
            if self.why_ended:
                self._child.kill()
                return

    def _worked(self) -> float:
        return self._clock.seconds() if self._clock else 0.0

    def died(self, code: int) -> TrainingDied:
        """Why the child ended with this code."""
        why, overran = self.why_ended, None
        if why is RunReason.TOO_LONG:
            overran = "time"
        elif why is RunReason.TOO_MUCH:
            overran = "memory"
        elif (
            why is None
            and -code in NO_MEMORY
            and (killed_for_memory() > self._killed_before or address_limit() is not None)
        ):
            why, overran = RunReason.OUT_OF_MEMORY, "memory"
        if why is None:
            return TrainingDied(_how_it_died(code))
        values = {"limit": (self._limit or 0) >> 20}
        seconds = self._silent_seconds if why is RunReason.SILENT else overdue(self._seconds)
        return TrainingDied(why.said(seconds=seconds, **values).text, overran, self._worked(), self._peak)


class TrainingProcess:
    """The parent's end. One run at a time; started when it is first needed."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._runs = 0  # that the child was given
        self._turn = threading.Lock()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.poll() is None else None

    def train(self, order: Order, say: Say, timeout: float) -> dict[str, Any]:
        """Have the run done; how it ended.

        Raises:
            TrainingDied: the process was killed, crashed, did not finish within `timeout` seconds, or was not heard of
                for longer than the order allows.
        """
        with self._turn:
            if self._runs >= RUNS_AT_MOST:
                self.close()
            child = self._started()
            self._runs += 1
            with _Watchdog(child, timeout, order.silent_seconds, order.memory_bytes) as watchdog:
                try:
                    return self._converse(child, order, say, watchdog)
                except (BrokenPipeError, EOFError):
                    code = child.wait()
                    self._child = None
                    raise watchdog.died(code) from None

    def _converse(self, child: "subprocess.Popen[str]", order: Order, say: Say, watchdog: _Watchdog) -> dict[str, Any]:
        orders, answers = _pipes(child)
        orders.write(json.dumps(asdict(order)) + "\n")
        orders.flush()
        for line in answers:
            watchdog.heard()
            message: dict[str, Any] = json.loads(line)
            if "outcome" in message:
                return message
            if message == BEGINS:
                watchdog.begins()
            elif IDLE in message:
                watchdog.idle(message[IDLE])
            elif message != ALIVE:
                say(message)
        raise EOFError

    def _started(self) -> "subprocess.Popen[str]":
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(  # noqa: S603 — our own words and path, no shell
                [sys.executable, "-P", "-c", START, str(APP.parent)],  # -P: nothing of the folder that we stand in
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # Ctrl-C in the terminal is the parent's to handle
            )
            self._runs = 0
        return self._child

    def close(self, seconds: float = 3) -> None:
        """End the process; a run at work is given up."""
        child, self._child = self._child, None
        if child is None:
            return
        orders, _ = _pipes(child)
        try:
            orders.close()  # the end of its orders is the sign to go
        except BrokenPipeError:
            child.kill()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _pipes(child: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    if child.stdin is None or child.stdout is None:
        raise BrokenPipeError
    return child.stdin, child.stdout


def _how_it_died(code: int) -> str:
    if code < 0:
        return RunReason.KILLED.said(signal=-code, name=signal.Signals(-code).name).text
    return RunReason.EXITED.said(code=code).text


def _yield_to_others() -> None:
    """Run only where nobody else wants to, and always in the same place.

    On Linux that is a scheduling class of its own, before which whoever wakes up goes at once, and the last of the
    processors: TensorFlow's threads would hand their work from one to the other, and disturb those at work on both.
    """
    os.nice(NICENESS)
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_FIRST)
        with suppress(OSError):  # a container may forbid it: then niceness has to do
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def serve_orders() -> None:
    """The child's end."""
    _yield_to_others()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, prints to stderr: stdout is for answers
    one_at_a_time = threading.Lock()

    def say(message: Mapping[str, Any]) -> None:
        line = json.dumps(message, default=str) + "\n"
        with one_at_a_time:
            answers.write(line)
            answers.flush()

    logs.configure()
    orders = _orders_until_parent_ends()
    from app.ml.networks.loop import forget_models
    from app.ml.training.run import train

    runs = 0
    while True:
        order = Order(**json.loads(orders.get()))
        logs.run_id.set(order.run_id)
        with tracing.span("training run", run_id=order.run_id, forced=order.forced):
            result = train(order, say)
        say(result)
        tracing.flush()
        runs += 1
        if runs % FORGET_EVERY == 0:
            forget_models()


def _orders_until_parent_ends() -> "queue.SimpleQueue[str]":
    """Lines of stdin. When it closes, the parent is gone or wants us gone: end at once, the lock falls with us."""
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            orders.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    return orders

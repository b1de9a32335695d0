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
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from app.core.observability import logs, tracing
from app.core.one_thread import ONE_THREAD
from app.core.settings import APP
from app.ml.training.heartbeat import ALIVE
from app.ml.training.reasons import RunReason
from app.ml.training.run import Order, Say

NICENESS = 10
RUNS_AT_MOST = 50  # of one process: TensorFlow keeps something of each (0.8 MB were seen), so that it never gets far
FORGET_EVERY = 10  # runs; the one after takes half a second longer
OUT_OF_MEMORY_FIRST = "500"  # of 1000: when memory runs out, Linux ends this process before those that serve
# Our package is found by its place, whatever else is called `app` where the command began, or on PYTHONPATH.
START = """import sys; sys.path.insert(0, sys.argv[1]); import app; del sys.path[0]
from app.ml.training.worker import serve_orders; serve_orders()"""


class TrainingDied(RuntimeError):
    """The training process ended in the middle of a run."""


class _Watchdog:
    """Ends a child that takes too long, or that is not heard of: one that was stopped, or hangs."""

    def __init__(self, child: "subprocess.Popen[str]", seconds: float, silent_seconds: float) -> None:
        self._child, self._seconds, self._silent_seconds = child, seconds, silent_seconds
        self._silent = 0.0  # seconds that we were awake ourselves: a machine that slept is no fault of the child's
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="training-watchdog", daemon=True)
        self.why_ended: str | None = None

    def __enter__(self) -> "_Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def heard(self) -> None:
        self._silent = 0.0

    def _watch(self) -> None:
        step, deadline = min(1.0, self._silent_seconds / 10), time.monotonic() + self._seconds
        while not self._over.wait(min(step, max(deadline - time.monotonic(), 0.001))):
            self._silent += step
            if time.monotonic() >= deadline:
                self.why_ended = RunReason.TOO_LONG.said(seconds=self._seconds).text
            elif self._silent > self._silent_seconds:
                self.why_ended = RunReason.SILENT.said(seconds=self._silent_seconds).text
            if self.why_ended:
                self._child.kill()
                return


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
            with _Watchdog(child, timeout, order.silent_seconds) as watchdog:
                try:
                    return self._converse(child, order, say, watchdog)
                except (BrokenPipeError, EOFError):
                    code = child.wait()
                    self._child = None
                    raise TrainingDied(watchdog.why_ended or _how_it_died(code)) from None

    def _converse(self, child: "subprocess.Popen[str]", order: Order, say: Say, watchdog: _Watchdog) -> dict[str, Any]:
        orders, answers = _pipes(child)
        orders.write(json.dumps(asdict(order)) + "\n")
        orders.flush()
        for line in answers:
            watchdog.heard()
            message: dict[str, Any] = json.loads(line)
            if "outcome" in message:
                return message
            if message != ALIVE:
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

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
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import IO, Any

from app.core import logs
from app.core.one_thread import ONE_THREAD
from app.ml.training_run import Order

NICENESS = 10


class TrainingDied(RuntimeError):
    """The training process ended in the middle of a run."""


class TrainingProcess:
    """The parent's end. One run at a time; started when it is first needed."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.poll() is None else None

    def train(self, order: Order, say: Callable[[Mapping[str, Any]], None], timeout: float) -> dict[str, Any]:
        """Have the run done; how it ended.

        Raises:
            TrainingDied: the process was killed, crashed, or did not finish within `timeout` seconds.
        """
        with self._turn:
            return self._train(order, say, timeout)

    def _train(self, order: Order, say: Callable[[Mapping[str, Any]], None], timeout: float) -> dict[str, Any]:
        child = self._started()
        overdue = threading.Event()

        def give_up() -> None:
            overdue.set()
            child.kill()

        deadline = threading.Timer(timeout, give_up)
        deadline.start()
        try:
            return self._converse(child, order, say)
        except (BrokenPipeError, EOFError):
            code = child.wait()
            self._child = None
            raise TrainingDied(_how_it_died(code, timeout if overdue.is_set() else None)) from None
        finally:
            deadline.cancel()

    def _converse(
        self, child: "subprocess.Popen[str]", order: Order, say: Callable[[Mapping[str, Any]], None]
    ) -> dict[str, Any]:
        orders, answers = _pipes(child)
        orders.write(json.dumps(asdict(order)) + "\n")
        orders.flush()
        for line in answers:
            message: dict[str, Any] = json.loads(line)
            if "outcome" in message:
                return message
            say(message)
        raise EOFError

    def _started(self) -> "subprocess.Popen[str]":
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "app.ml.training_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # Ctrl-C in the terminal is the parent's to handle
            )
        return self._child

    def close(self, patience: float = 3) -> None:
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
            child.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _pipes(child: "subprocess.Popen[str]") -> tuple[IO[str], IO[str]]:
    if child.stdin is None or child.stdout is None:
        raise BrokenPipeError
    return child.stdin, child.stdout


def _how_it_died(code: int, overdue: float | None) -> str:
    if overdue is not None:
        return f"The training took longer than {overdue:g} s and was ended."
    if code < 0:
        return f"The training process was killed by signal {-code} ({signal.Signals(-code).name})."
    return f"The training process ended with exit code {code}."


def _yield_to_others() -> None:
    """Run only where nobody else wants to, and always in the same place.

    On Linux that is a scheduling class of its own, before which whoever wakes up goes at once, and the last of the
    processors: TensorFlow's threads would hand their work from one to the other, and disturb those at work on both.
    """
    os.nice(NICENESS)
    if sys.platform == "linux":
        with suppress(OSError):  # a container may forbid it: then niceness has to do
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def serve_orders() -> None:
    """The child's end."""
    _yield_to_others()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints, prints to stderr: stdout is for answers

    def say(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message, default=str) + "\n")
        answers.flush()

    logs.configure()
    orders = _orders_until_parent_ends()
    from app.ml.training_run import train

    while True:
        order = Order(**json.loads(orders.get()))
        logs.run_id.set(order.run_id)
        say(train(order, say))


def _orders_until_parent_ends() -> "queue.SimpleQueue[str]":
    """Lines of stdin. When it closes, the parent is gone or wants us gone: end at once, the lock falls with us."""
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            orders.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    return orders


if __name__ == "__main__":
    serve_orders()

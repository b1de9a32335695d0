"""Work in a process of its own, forked from this one: what happens to it happens to nobody else."""

import json
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

LONGEST = 120  # seconds; whoever takes longer hangs
RAISED = 3


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: what it had told by then, its signal, and what it printed."""

    told: list[Any]
    code: int  # as of `subprocess`: negative for a signal
    printed: str

    @property
    def hung(self) -> bool:
        return self.code == -signal.SIGALRM


def done(work: Callable[[Callable[[Any], None]], None]) -> Ended:
    """Fork, work, and wait for the end. What is told counts even where the process is killed the next moment."""
    with TemporaryFile() as told, TemporaryFile() as printed:
        pid = os.fork()
        if pid == 0:
            _work(work, told.fileno(), printed.fileno())
        _, status = os.waitpid(pid, 0)
        told.seek(0)
        printed.seek(0)
        lines = [json.loads(line) for line in told]
        return Ended(lines, os.waitstatus_to_exitcode(status), printed.read().decode(errors="replace"))


def _work(work: Callable[[Callable[[Any], None]], None], told: int, printed: int) -> None:
    """In the child; never returns. Nothing that the parent would do at its end is done here."""
    code = RAISED

    def tell(what: Any) -> None:
        os.write(told, f"{json.dumps(what)}\n".encode())

    try:
        signal.alarm(LONGEST)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        work(tell)
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)

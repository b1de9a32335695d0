"""Where something can go wrong is a point; the k-th one that the mode knows of goes wrong. For tests only."""

import errno
import os
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NoReturn

Area = Literal["file", "database", "training"]

KILL = "kill"
FILE_ERRORS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "EACCES": errno.EACCES}
LOST = "lost"  # the database closes the connection
TRAINING_ERRORS: dict[str, type[Exception]] = {
    "ValueError": ValueError,
    "MemoryError": MemoryError,
    "RuntimeError": RuntimeError,
}
MODES = (KILL, *FILE_ERRORS, LOST, *TRAINING_ERRORS)


@dataclass(frozen=True, slots=True)
class Fault:
    """The k-th point that this mode knows of goes wrong."""

    mode: str
    k: int

    def knows(self, area: Area) -> bool:
        """A process can be killed anywhere; other faults belong to one area."""
        return self.mode == KILL or area == area_of(self.mode)


def area_of(mode: str) -> Area:
    if mode in FILE_ERRORS:
        return "file"
    return "database" if mode == LOST else "training"


class Failpoints:
    """Counts the points as they are reached, in whatever thread, and says which of them goes wrong."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.reached = 0
        self.struck: str | None = None  # the point that went wrong
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._told = os.dup(2)  # the point is told at once: a killed process says nothing later

    def strikes(self, area: Area, name: str, most: int | None = None) -> bool:
        """Whether this one goes wrong; of points that are passed over and over only the first `most` count."""
        if not self.fault.knows(area):
            return False
        with self._lock:
            self._calls[name] += 1
            if most is not None and self._calls[name] > most:
                return False
            self.reached += 1
            if self.reached != self.fault.k:
                return False
            self.struck = f"{area}: {name}"
            os.write(self._told, f"FAULT {self.fault.mode} at point {self.fault.k}, {self.struck}\n".encode())
        return True

    def fail(self, path: object = None) -> NoReturn:
        """Go wrong as the mode does. Of a lost connection PostgreSQL's driver tells by itself."""
        mode = self.fault.mode
        if mode == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if mode in FILE_ERRORS:
            raise OSError(FILE_ERRORS[mode], os.strerror(FILE_ERRORS[mode]), None if path is None else str(path))
        raise TRAINING_ERRORS[mode](f"a fault, at {self.struck}")

    @property
    def kills(self) -> bool:
        return self.fault.mode == KILL

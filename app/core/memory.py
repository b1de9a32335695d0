"""Memory that a process is done with."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def give_back() -> None:
    """Hand to the system what was let go of: glibc keeps it for the process, which may be some hundred megabytes after
    a step of a training. Other systems' libraries need no call."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


@contextmanager
def without_collection() -> Iterator[None]:
    """Meanwhile nobody looks for objects that hold each other: the more there are of others, the longer that takes."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

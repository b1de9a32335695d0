"""Memory that a process is done with."""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECT_AFTER = (50_000, 20, 50)  # new objects, collections of the young ones, of those that outlived one


def give_back() -> None:
    """Hand to the system what was let go of: glibc keeps it for the process, which may be some hundred megabytes after
    a step of a training. Other systems' libraries need no call."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


@contextmanager
def collected_seldom() -> Iterator[None]:
    """Look for garbage in circles less often meanwhile: the more there is that is none, the longer that takes."""
    usual = gc.get_threshold()
    gc.set_threshold(*COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*usual)

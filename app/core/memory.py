"""Memory that a process is done with."""

import ctypes


def give_back() -> None:
    """Hand to the system what was let go of: glibc keeps it for the process, which may be some hundred megabytes after
    a step of a training. Other systems' libraries need no call."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)

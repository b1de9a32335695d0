"""The contract of an engine, and the one that does everything in this process, one piece after another.

Who drives a run chooses an engine by `at_work`; who has pieces to do asks for it by `current`. At a worker, and where
nobody chose, that is the local one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Say = Callable[[Any], object]  # is told a step: facts by name
Work = Callable[..., Any]


class EngineLost(RuntimeError):
    """The workers can't be reached, refuse or died of the work; the message says which in one sentence."""


class Engine(Protocol):
    """Works on pieces; who drives a run has one, and every result comes back to it."""

    @property
    def width(self) -> int:
        """How many pieces are worked on at a time."""
        ...

    @property
    def say(self) -> Say:
        """Tells whoever watches the run of a step."""
        ...

    def map(self, work: Work, pieces: Iterable[Any], *shared: Any) -> Iterator[Any]:
        """What the work makes of each piece, in their order, so that sums of it are always the same."""
        ...

    def shards(self, make: Callable[[Arrays], Any], parts: Iterable[Arrays]) -> Sequence[Any]:
        """What is made of each part of the data, to stay where it will be worked on: pieces for `map`."""
        ...


class LocalEngine:
    """This process."""

    width = 1

    def __init__(self, say: Say = lambda step: None) -> None:
        self.say = say

    def map(self, work: Work, pieces: Iterable[Any], *shared: Any) -> Iterator[Any]:
        return (work(piece, *shared) for piece in pieces)

    def shards(self, make: Callable[[Arrays], Any], parts: Iterable[Arrays]) -> Sequence[Any]:
        return [make(part) for part in parts]


_current: ContextVar[Engine] = ContextVar("engine", default=LocalEngine())  # noqa: B039 — it holds nothing


def current() -> Engine:
    """The engine of the run that we are part of."""
    return _current.get()


@contextmanager
def at_work(engine: Engine) -> Iterator[None]:
    """Whatever asks within the block works with this one."""
    before = _current.set(engine)
    try:
        yield
    finally:
        _current.reset(before)


def by_student(student: NDArray[np.integer[Any]], rows: int) -> Iterator[NDArray[np.intp]]:
    """Rows of whole students, about so many at a time, each in its order; n rows with each one's student."""
    order = np.argsort(student, kind="stable")
    ends = np.cumsum(np.bincount(student))
    ends = ends[np.diff(ends, prepend=0) > 0]
    cuts = np.unique(np.searchsorted(ends, np.arange(rows, len(student), rows)))
    begin = 0
    for end in [*ends[cuts].tolist(), len(student)]:
        if end > begin:
            yield np.sort(order[begin:end])
            begin = end

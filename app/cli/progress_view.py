"""How far long work has come: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

EVERY_SECONDS = 5.0  # a line
STEPS = ("training", "epoch")  # of a model, each within the one before; a step names how many there are by its plural


def progress_bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=not sys.stderr.isatty(),
    )


class Watch:
    """The newest step of work on several models, in words and as a share of the whole."""

    def __init__(self, what: str) -> None:
        self.what, self.step, self._begun = what, dict[str, Any](), monotonic()

    def __call__(self, step: dict[str, Any]) -> None:
        self.step = step

    def words(self) -> str:
        """Which model, which of its trainings, which epoch; empty before the first."""
        if "model" not in self.step:
            return ""
        return ", ".join([f"{self.step['model']} ({self.step['done'] + 1} of {self.step['models']})", *self._within()])

    def _within(self) -> list[str]:
        return [f"{name} {self.step[name]} of {self.step[f'{name}s']}" for name in STEPS if name in self.step]

    def share(self) -> float:
        """From 0 to 1; every model counts the same, and every training of it."""
        done = 0.0
        for name in reversed(STEPS):
            if name in self.step:
                done = (self.step[name] - 1 + done) / self.step[f"{name}s"]
        return float((self.step.get("done", 0) + done) / self.step.get("models", 1))

    def line(self) -> str:
        """For a log."""
        words = self.words()
        return f"{self.what}{': ' if words else ''}{words}, {monotonic() - self._begun:.0f} s"


def stopped(interrupted: list[str], watch: Watch) -> str:
    """What Ctrl-C ended, and what is left."""
    waiting = f" {', '.join(interrupted[1:])} had not begun." if interrupted[1:] else ""
    return f"Interrupted in {watch.words()}.{waiting} The figures are of the models that had finished."


@contextmanager
def watched(what: str) -> Iterator[Watch]:
    """To be told of every step of the work."""
    with _bar(what) if sys.stderr.isatty() else _lines(Watch(what)) as watch:
        yield watch


@contextmanager
def _bar(what: str) -> Iterator[Watch]:
    with progress_bar() as progress:
        shown = progress.add_task(what, total=1, detail="")
        yield _Drawn(what, lambda watch: progress.update(shown, completed=watch.share(), detail=watch.words()))


class _Drawn(Watch):
    """Drawn anew with every step."""

    def __init__(self, what: str, draw: Callable[[Watch], None]) -> None:
        super().__init__(what)
        self._draw = draw

    def __call__(self, step: dict[str, Any]) -> None:
        super().__call__(step)
        self._draw(self)


@contextmanager
def _lines(watch: Watch) -> Iterator[Watch]:
    """Said by a thread of its own, for some steps are long."""
    ended = Event()

    def say() -> None:
        while not ended.wait(EVERY_SECONDS):
            print(watch.line(), file=sys.stderr, flush=True)

    thread = Thread(target=say, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()

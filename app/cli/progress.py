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
SHOW_AFTER_SECONDS = 2.0  # a bar for work that is mostly quick
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


@contextmanager
def bytes_progress(what: str) -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """To be told of bytes done, and to be stopped for a question; shown once it takes long enough to wonder."""
    progress, started, done = progress_bar(), monotonic(), 0
    bar = progress.add_task(what, total=None, detail="")

    def show(more: int) -> None:
        nonlocal done
        done += more
        if not progress.live.is_started and monotonic() - started > SHOW_AFTER_SECONDS:
            progress.start()
        progress.update(bar, detail=f"{done / 1e6:,.0f} MB")

    def pause() -> None:
        if progress.live.is_started:  # else it would print an empty line
            progress.stop()

    try:
        yield show, pause
    finally:
        pause()


class ProgressWatch:
    """The newest step of work on several models, in words and as a share of the whole; shown as it is told."""

    def __init__(self, what: str, show: "Callable[[ProgressWatch], None]" = lambda watch: None) -> None:
        self.what, self.step, self._show, self._begun = what, dict[str, Any](), show, monotonic()

    def __call__(self, step: dict[str, Any]) -> None:
        self.step = step
        self._show(self)

    def words(self) -> str:
        """Which model, which of its trainings, which epoch; empty before the first."""
        if "model" not in self.step:
            return ""
        within = [f"{name} {self.step[name]} of {self.step[f'{name}s']}" for name in STEPS if name in self.step]
        return ", ".join([f"{self.step['model']} ({self.step['done'] + 1} of {self.step['models']})", *within])

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


def stopped(interrupted: list[str], watch: ProgressWatch) -> str:
    """What Ctrl-C ended, and what is left."""
    waiting = f" {', '.join(interrupted[1:])} had not begun." if interrupted[1:] else ""
    return f"Interrupted in {watch.words()}.{waiting} The figures are of the models that had finished."


@contextmanager
def watched(what: str) -> Iterator[ProgressWatch]:
    """To be told of every step of the work."""
    if sys.stderr.isatty():
        with progress_bar() as progress:
            bar = progress.add_task(what, total=1, detail="")
            yield ProgressWatch(what, lambda watch: progress.update(bar, completed=watch.share(), detail=watch.words()))
    else:
        watch = ProgressWatch(what)
        with _lines(watch):
            yield watch


@contextmanager
def _lines(watch: ProgressWatch) -> Iterator[None]:
    """Printed by a thread of its own, for some steps are long."""
    ended = Event()

    def print_lines() -> None:
        while not ended.wait(EVERY_SECONDS):
            print(watch.line(), file=sys.stderr, flush=True)

    thread = Thread(target=print_lines, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

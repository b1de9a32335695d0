"""What a POST, a PATCH and a training pass through is what the README says."""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.core.database import database_url
from app.core.settings import settings
from app.crud import training_runs
from app.ml.training.run import Order, train
from tests.school import Student, until

TOP = Path(__file__).parents[1]
APP = f"{TOP}/app/"
ROOMS = ("routers/", "crud/", "ml/")  # what the walks name; values, tables and settings are used by all
README = (TOP / "README.md").read_text()


class Trace:
    """The files of ours whose functions are called, in the order of their first call, by the thread that comes to the
    first of them."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self._first = ""
        self._thread: int | None = None

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if not self._first or event != "call" or not file.startswith(APP) or name[0] == "<":
            return
        place, thread = file.removeprefix(APP), threading.get_ident()
        if self._thread is None and place == self._first:
            self._thread = thread
        if thread == self._thread and place.startswith(ROOMS):
            self.files.setdefault(place)

    @contextmanager
    def walk(self, first: str) -> Iterator[None]:
        self.files.clear()
        self._first, self._thread = first, None
        try:
            yield
        finally:
            self._first = ""


@pytest.fixture
def trace() -> Iterator[Trace]:
    """To be asked for before the service, whose threads it follows from their start."""
    made = Trace()
    threading.setprofile(made)
    sys.setprofile(made)
    yield made
    sys.setprofile(None)
    threading.setprofile(None)


def told(walk: str) -> list[str]:
    """The files that the README names, in its order."""
    found = re.search(rf"^\*\*{walk}\*\*.*?(?=^\*\*|^#)", README, re.MULTILINE | re.DOTALL)
    assert found, walk
    return re.findall(r"`app/([^`]+)`", found[0])


def passes(trace: Trace, walk: str) -> None:
    """The files that the README names are passed, in this order."""
    named = told(walk)
    assert [file for file in trace.files if file in named] == named, list(trace.files)


def test_a_post_a_patch_and_a_training_walk_as_the_readme_says(
    trace: Trace, student: Callable[..., Student], db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ml.training.scheduler.Trainer.request", lambda *_: None)
    ada = student("ada")
    for number in range(12):
        ada.do(is_correct=number % 3 > 0, seconds=20 + number)
    with trace.walk("ml/training/run.py"):
        assert train(_order(db), lambda step: None)["outcome"] == "published"
    passes(trace, "A training")
    until(lambda: ada.ask("Calculus").json()["model_version_id"])  # the first ones find that there is a new version
    ada.do(is_correct=True, seconds=20)
    with trace.walk("routers/dependencies.py"):
        task = ada.ask("Calculus").json()
    passes(trace, "A POST")
    with trace.walk("routers/dependencies.py"):
        ada.complete(task["id"])
    assert list(trace.files) == told("A PATCH")


def _order(db: Session) -> Order:
    asked = training_runs.ask(db)
    db.commit()
    return Order(asked, database_url(), str(settings().model_dir), 5, 10, 10, forced=True)

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
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import database_url
from app.core.settings import settings
from app.crud import training_runs
from app.ml.training.run import Order, train
from tests.school import Student

TOP = Path(__file__).parents[1]
APP = f"{TOP}/app/"
ROOMS = ("routers/", "crud/", "ml/")  # what the walks name; values, tables and settings are used by all
README = (TOP / "README.md").read_text()


class Trace:
    """The files of ours whose functions are called while it is on, in the order of their first call."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}
        self.is_on = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if self.is_on and event == "call" and file.startswith(APP) and name[0] != "<":
            place = file.removeprefix(APP)
            if place.startswith(ROOMS):
                self.files.setdefault(place)

    @contextmanager
    def walk(self) -> Iterator[None]:
        self.files.clear()
        self.is_on = True
        try:
            yield
        finally:
            self.is_on = False


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


def test_a_post_a_patch_and_a_training_walk_as_the_readme_says(
    trace: Trace, student: Callable[..., Student], db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.ml.training.scheduler.Trainer.request", lambda *_: None)
    ada = student("ada")
    for number in range(12):
        ada.do(is_correct=number % 3 > 0, seconds=20 + number)
    with trace.walk():
        assert train(_order(db), lambda step: None)["outcome"] == "published"
    assert list(trace.files) == told("A training")
    for _ in range(2):  # the second one finds the new version loaded
        with trace.walk():
            task = ada.ask("Calculus").json()
    assert task["model_version_id"] is not None
    assert list(trace.files) == told("A POST")
    with trace.walk():
        ada.complete(task["id"])
    assert list(trace.files) == told("A PATCH")


def _order(db: Session) -> Order:
    asked = training_runs.ask(db)
    db.commit()
    return Order(asked, database_url(), str(settings().model_dir), 5, 10, 10, forced=True)

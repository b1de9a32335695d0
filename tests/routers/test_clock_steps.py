"""Clocks are set back, jump ahead and differ between machines: nothing is lost, negative or not finite."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import security
from app.crud import attempts
from app.ml.features.inputs import INPUTS, inputs_of, known_before
from app.ml.lnirt.model import fit_lnirt
from tests.school import Student

Students = Callable[..., Student]
MOVED = text(
    "UPDATE practice_tasks SET created_at = created_at + :by, completed_at = completed_at + :by WHERE id = :id"
)
STEPS = {
    "set back an hour": [timedelta(hours=1)],
    "jumped ahead a day": [-timedelta(days=1)],
    "replicas ten minutes apart": [timedelta(minutes=10), -timedelta(minutes=10)],
}


def done_by_other_clocks(db: Session, ada: Student, steps: list[timedelta]) -> None:
    """Eight tasks of which the database's clock then said something else than it says now; one is still open."""
    tasks = [ada.do(is_correct=n % 3 > 0, seconds=20 + n, item_id="i") for n in range(8)] + [ada.ask().json()]
    for task, step in zip(tasks, cycle(steps), strict=False):
        db.execute(MOVED, {"by": step, "id": task["id"]})
    db.commit()


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
def test_a_student_goes_on_when_a_clock_is_set(student: Students, db: Session, steps: list[timedelta]) -> None:
    ada = student()
    done_by_other_clocks(db, ada, steps)
    (still_open,) = ada.get("/practice-tasks", completed=False).json()["items"]
    asked = ada.ask(item_id="i").json()
    for task in (still_open, asked):
        done = ada.complete(task["id"]).json()
        assert datetime.fromisoformat(done["completed_at"]) > datetime.fromisoformat(done["created_at"])
    inputs = db.scalars(text("SELECT features FROM practice_tasks WHERE features IS NOT NULL")).all()
    assert np.isfinite(np.array(inputs)).all()
    assert (np.array(inputs)[:, : len(INPUTS)] >= 0).all()
    assert db.scalar(text("SELECT n FROM student_totals WHERE scope = 'all'")) == 10
    assert every_task(ada) == 10


def every_task(ada: Student) -> int:
    """How many there are, page by page; each once, newest first."""
    seen: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 3}
    while query.get("before", "") is not None:
        page = ada.get("/practice-tasks", **query).json()
        seen, query = seen + page["items"], {"limit": 3, "before": page["next"]}
    keys = [(task["created_at"], task["id"]) for task in seen]
    assert keys == sorted(set(keys), reverse=True)
    return len(seen)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
def test_training_sees_a_history_in_order(student: Students, db: Session, steps: list[timedelta]) -> None:
    ada = student()
    done_by_other_clocks(db, ada, steps)
    ada.do()
    told = attempts.read_all(db)
    assert (np.diff(told.finished) >= 0).all()
    assert (told.finished > told.started).all()
    assert np.isfinite(inputs_of(known_before(told))).all()
    said = fit_lnirt(told).served().answers(told, np.arange(len(told)))
    assert said.are_finite()


@pytest.mark.parametrize("minutes", [-60, -10, 10])
def test_a_token_of_a_clock_that_goes_otherwise_is_good(
    student: Students, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    ada = student()
    claim = security.claim_by_token(ada.secret)
    assert claim is not None

    clock = SimpleNamespace(now=lambda zone: datetime.now(zone) + timedelta(minutes=minutes))
    monkeypatch.setattr(security, "datetime", clock)
    token, _ = security.issue_token(claim.student, claim.token)  # type: ignore[arg-type]
    assert Student(ada.client, token).ask().status_code == 201

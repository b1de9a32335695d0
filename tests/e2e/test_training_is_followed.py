"""A page on which a training shows is told how it goes, and asks again and again only where it may not listen."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.crud import training_runs
from app.ml.training import scheduler
from tests.e2e.visits import Visits

pytestmark = pytest.mark.e2e
Visit = Callable[..., Visits]
BEGIN = "INSERT INTO training_runs (outcome, started_at, progress) VALUES ('running', now(), :progress) RETURNING id"
PROGRESS = "UPDATE training_runs SET progress = :progress, seen_at = now()"
END = "UPDATE training_runs SET outcome = 'published', finished_at = now(), n_tasks = 12"


@pytest.fixture(autouse=True)
def lock(environment: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody holds the lock of a run that is at work, and what is due is left alone."""
    monkeypatch.setattr(scheduler.Trainer, "poll", lambda _: None)
    with new_session()() as holder:
        holder.execute(text(training_runs.TRY_LOCK))
        yield


def change(db: Session, sql: str, **progress: Any) -> None:
    db.execute(text(sql), {"progress": json.dumps(progress)} if progress else {})
    db.commit()


def watched(visit: Visit, db: Session) -> tuple[Page, Counter[str]]:
    """The page of a training that is at work, and how often each path is asked for from then on."""
    window = visit().register()
    change(db, BEGIN, step="fitting", epoch=0, epochs=4)
    asked: Counter[str] = Counter()
    window.page.on("request", lambda request: asked.update([urlsplit(request.url).path]))
    return window.page, asked


def test_epochs_move_the_bar_and_the_end_is_told_without_asking(visit: Visit, db: Session) -> None:
    page, asked = watched(visit, db)
    page.goto(page.url.replace("/dashboard", "/dashboard/training"))
    expect(page.locator("#training")).to_contain_text("The models are training")
    for epoch in (1, 2, 3):
        change(db, PROGRESS, step="fitting", epoch=epoch, epochs=4)
        expect(page.locator("#training progress")).to_have_js_property("value", epoch / 4)
    assert asked["/dashboard/training"] == 2  # the page, and once when it began to listen
    change(db, END)
    expect(page.locator("#training")).to_contain_text("on 12 tasks")
    assert (asked["/events"], asked["/dashboard/training"]) == (1, 3)
    assert page.locator("[data-poll]").count() == 0


def test_where_nobody_more_may_listen_the_page_asks(visit: Visit, db: Session) -> None:
    page, asked = watched(visit, db)

    page.route("**/events", lambda route: route.fulfill(status=204))
    page.goto(page.url.replace("/dashboard", "/dashboard/training"))
    expect(page.locator("#training")).to_contain_text("The models are training")
    change(db, END)
    expect(page.locator("#training")).to_contain_text("on 12 tasks")
    assert asked["/dashboard/training"] >= 2

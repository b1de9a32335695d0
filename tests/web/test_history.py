"""The history: what a student finds in it, and how a slip is put right, as seen without JavaScript."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qsl

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.settings import settings
from app.web.history import TASKS_PER_PAGE
from tests.finished import account_of, finish
from tests.web.browsing import Browser, said

PAGE = "/dashboard/history"


@pytest.fixture
def ada(service: TestClient) -> Browser:
    return Browser(service).register("ada")


def results(db: Session) -> list[tuple[Any, ...]]:
    db.rollback()
    rows = db.execute(
        text("SELECT completed, is_correct, actual_time_seconds FROM practice_tasks ORDER BY created_at, id")
    )
    return [tuple(row) for row in rows]


def test_a_slip_is_undone_at_once_and_the_time_stays(ada: Browser, db: Session) -> None:
    done = ada.practise(right=False, seconds=95)
    assert "Undo" in said(done)
    again = ada.send(f"{done.url.path}/undo")
    assert again.url.path == done.url.path
    assert "The result is taken back" in said(again)
    assert 'value="1:35"' in again.text
    assert results(db) == [(False, None, None)]
    assert "I got it right" in said(again)
    right = ada.send(done.url.path, result="right", seconds="1:35")
    assert re.search(r"Right , in 95 s Taken back .* it was wrong, in 95 s", said(right))
    assert results(db) == [(True, True, 95.0)]


def test_a_result_is_changed_later_and_the_old_one_is_told(ada: Browser, db: Session) -> None:
    task = ada.practise("Waves", right=False, seconds=95.4).url.path
    ada.practise("Calculus")
    form = {"result": "right", "seconds": "1:35", "back": "topic=Waves&nonsense=1"}
    page = ada.send(f"{task}/result", **form)
    assert (page.url.path, dict(page.url.params)) == (PAGE, {"topic": "Waves", "done": "changed"})
    assert re.search(r"Waves medium .* Right , in 95 s .*Changed .* from wrong, in 95 s", said(page))
    assert "Calculus medium" not in said(page)
    assert results(db)[0] == (True, True, 95.4)  # the time was sent as it had been shown


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"result": "right", "seconds": "soon"}, "can't be read as a time"),
        ({"result": "right", "seconds": "0"}, "more than 0 s"),
        ({"result": "right", "seconds": ""}, "How long did it take?"),
        ({"result": "perhaps", "seconds": "5"}, "Was it right or wrong?"),
    ],
)
def test_a_result_that_can_not_be_is_said_so(ada: Browser, db: Session, form: dict[str, str], sentence: str) -> None:
    task = ada.practise(seconds=30).url.path
    again = ada.send(f"{task}/result", **form)
    assert again.status_code == 422
    assert sentence in said(again)
    assert results(db) == [(True, True, 30.0)]


def test_an_open_task_is_discarded_from_its_page_and_from_the_history(ada: Browser, db: Session) -> None:
    for back in ("", "result=open"):
        asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy")
        assert "Discard this one" in said(asked)
        assert "Calculus easy" in said(ada.get(PAGE, result="open"))
        page = ada.send(f"{asked.url.path}/discard", back=back)
        assert (page.url.path, "The task is discarded." in said(page)) == (PAGE, True)
    assert results(db) == []
    finished = ada.practise().url.path
    assert ada.send(f"{finished}/discard").url.path == finished  # done in another window: it stays
    assert len(results(db)) == 1


def test_search_and_filters_narrow_what_is_shown(ada: Browser, db: Session) -> None:
    me, now = account_of(db), datetime.now(UTC)
    finish(db, me, now - timedelta(days=40), topic="Wellen", right=False)
    finish(db, me, now - timedelta(days=2), topic="Calculus", item="sheet 7, 100% new")
    finish(db, me, now, topic="Größe", done=False)
    found = {
        "": ["Größe", "Calculus", "Wellen"],
        "search=CALC": ["Calculus"],
        "search=sheet+7": ["Calculus"],
        "search=100%25": ["Calculus"],
        "search=%25": ["Calculus"],
        "search=_": [],
        "search=gr%C3%B6": ["Größe"],
        "search=gro%CC%88%C3%9F++": ["Größe"],  # its accent apart
        "topic=Wellen": ["Wellen"],
        "result=wrong": ["Wellen"],
        "result=right": ["Calculus"],
        "result=open": ["Größe"],
        f"begin={now - timedelta(days=5):%Y-%m-%d}": ["Größe", "Calculus"],
        f"end={now - timedelta(days=5):%Y-%m-%d}": ["Wellen"],
        f"end={now:%Y-%m-%d}": ["Größe", "Calculus", "Wellen"],
        "begin=nonsense&end=9999-12-31&result=maybe&before=x": ["Größe", "Calculus", "Wellen"],
    }
    for query, topics in found.items():
        page = ada.get(PAGE, **dict(parse_qsl(query)))
        assert re.findall(r"<strong>(.*?)</strong>", page.text) == topics, query
    assert "No task fits." in said(ada.get(PAGE, search="nothing like it"))


def test_a_long_history_comes_in_pages_and_keeps_its_filters(ada: Browser, db: Session) -> None:
    me, now = account_of(db), datetime.now(UTC)
    for number in range(TASKS_PER_PAGE + 2):
        finish(db, me, now - timedelta(minutes=number), topic="A" if number % 40 else "B")
    page = ada.get(PAGE, result="right")
    assert page.text.count("<strong>") == TASKS_PER_PAGE
    (address,) = re.findall(r'href="/dashboard/history[?]([^"]*)">Older', page.text)
    older = ada.get(PAGE, **dict(parse_qsl(unescape(address))))
    assert older.text.count("<strong>") == 2
    assert older.url.params["result"] == "right"
    assert "Newest" in said(older)
    assert "Older" not in said(older)


def test_who_has_done_nothing_is_told_what_comes_here(ada: Browser) -> None:
    assert "Every task that you ask for will be listed here" in said(ada.get(PAGE))


def test_what_is_too_long_ago_can_not_be_changed(ada: Browser, db: Session) -> None:
    finish(db, account_of(db), datetime.now(UTC) - timedelta(days=settings().correction_days + 1))
    page = ada.get(PAGE)
    assert "Undo" not in said(page)
    assert "Change the result" not in said(page)
    assert "A result can be changed for 7 days after the task." in said(page)
    (task,) = set(re.findall(r"/dashboard/tasks/[0-9a-f-]{36}", page.text))
    assert "Undo" not in said(ada.get(task))
    for path, form in {f"{task}/result": {"result": "wrong", "seconds": "5"}, f"{task}/undo": {}}.items():
        assert "That result can't be changed here any more" in said(ada.send(path, **form))
    assert results(db) == [(True, True, 30.0)]


def test_a_correction_of_an_open_task_leads_to_the_task(ada: Browser) -> None:
    asked = ada.send("/dashboard/tasks", topic="Calculus", difficulty="easy").url.path
    for path, form in {f"{asked}/result": {"result": "wrong", "seconds": "5"}, f"{asked}/undo": {}}.items():
        assert ada.send(path, **form).url.path == asked

"""The page where admins rename, merge, approve and hide topics."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.crud import accounts, audit, topics
from tests.web.browsing import Browser, said

PAGE = "/admin/topics"


@pytest.fixture
def grace(service: TestClient, db: Session) -> Browser:
    """An admin, who has practised."""
    found = Browser(service).register("grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    for topic in ("Calculs", "Calculus", "<b>Visit evil.example</b>"):
        found.practise(topic)
    return found


def states(db: Session) -> dict[str, tuple[int, str | None]]:
    db.rollback()
    return {each.name: (each.finished, each.state) for each in topics.listed(db)}


def test_topics_are_listed_with_their_counts_and_can_be_searched(grace: Browser) -> None:
    page = grace.get(PAGE)
    assert "&lt;b&gt;Visit evil.example&lt;/b&gt;" in page.text
    assert "Calculus 1 0 1 0" in said(page)
    assert "evil" not in said(grace.get(PAGE, search="CALC"))
    assert "There is no such topic." in said(grace.get(PAGE, search="physics"))
    assert "More topics" not in said(page)


def test_two_topics_become_one(grace: Browser, db: Session) -> None:
    assert "The topics are one now" in said(grace.send(f"{PAGE}/merge", topic="Calculs", to="Calculus"))
    assert "The topic is renamed" in said(grace.send(f"{PAGE}/rename", topic="Calculus", to="Analysis"))
    assert states(db)["Analysis"] == (2, None)
    assert [each.act for each in audit.newest(db, 9)] == ["topic renamed", "topic merged"]


def test_a_topic_is_approved_hidden_and_forgotten(grace: Browser, db: Session) -> None:
    for act, state in (("approve", "approved"), ("hide", "hidden"), ("show", None)):
        grace.send(f"{PAGE}/{act}", topic="Calculus")
        assert states(db)["Calculus"] == (1, state)
    assert grace.send(f"{PAGE}/hide", topic="never written").status_code == 404
    assert "hid a topic" in said(grace.get("/admin/audit"))


@pytest.mark.parametrize(
    ("act", "to", "status", "wrong"),
    [
        ("rename", "Calculus", 409, "merge the two instead"),
        ("rename", "", 422, "Please name a topic"),
        ("rename", "Cal\u202eculus", 422, "U+202E (RIGHT-TO-LEFT OVERRIDE) must not be in it"),
        ("merge", "Physics", 404, "One of these topics does not exist"),
        ("merge", "Calculs", 422, "These are the same."),
    ],
)
def test_what_can_not_be_done_is_said_above_the_form(
    grace: Browser, db: Session, act: str, to: str, status: int, wrong: str
) -> None:
    before = states(db)
    page = grace.send(f"{PAGE}/{act}", topic="Calculs", to=to)
    assert page.status_code == status
    assert wrong in said(page)
    assert 'value="Calculs"' in page.text
    assert states(db) == before

from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.ml.evaluation import sample
from tests.school import Student, until
from tests.web.browsing import Browser, said


def test_an_empty_installation_offers_the_sample_and_it_is_loaded_once(service: TestClient, db: Session) -> None:
    browser = Browser(service)
    assert "This installation is empty" in browser.get("/").text
    with new_session().begin() as session:
        assert sample.load(session) == sample.STUDENTS * sample.TASKS
    with pytest.raises(sample.NotEmpty):
        sample.load(db)
    db.rollback()
    assert "This installation is empty" not in browser.get("/").text
    newest = db.scalar(text("SELECT max(completed_at) FROM practice_tasks"))
    assert timedelta(hours=20) < datetime.now(UTC) - newest < timedelta(hours=28)


def test_only_at_the_machine_itself_or_for_an_admin_there_is_a_button(
    service: TestClient, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(service)  # its address is none: it could be anywhere
    assert "<button>Load the sample" not in browser.get("/").text
    assert browser.send("/begin").status_code == 403
    monkeypatch.setattr("app.web.home.address_of", lambda request: "127.0.0.1")
    assert "<button>Load the sample" in browser.get("/").text
    assert browser.send("/begin", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 403
    assert sample.is_empty(db)
    db.rollback()
    assert "The sample is loaded" in said(browser.send("/begin"))
    until(lambda: Student(service, "").status()["serving"]["model_version_id"] is not None)


def test_another_site_can_not_load_it(service: TestClient, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.home.address_of", lambda request: "127.0.0.1")
    answer = Browser(service).send("/begin", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert sample.is_empty(db)

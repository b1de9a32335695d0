"""Trainings that take or wait far longer than before are told, on /model/status and on the pages."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.database import engine
from app.crud import training_runs
from tests.school import nobody_trains
from tests.web.browsing import Browser, said

Runs = Callable[..., None]
BEFORE = """INSERT INTO training_runs (outcome, started_at, finished_at, from_scratch)
    VALUES (:outcome, now() - make_interval(secs => :took), now(), :from_scratch)"""
AT_WORK = """INSERT INTO training_runs (outcome, started_at, from_scratch)
    VALUES ('running', now() - make_interval(secs => :took), :from_scratch)"""
WAITS = "INSERT INTO training_runs (outcome, asked_at) VALUES ('asked', now() - make_interval(secs => :waited))"


@pytest.fixture
def runs(db: Session, service: TestClient, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setattr("app.ml.training.scheduler.Trainer._supervised", nobody_trains)

    def store(sql: str, **values: object) -> None:
        db.execute(text(sql), values)
        db.commit()

    return store


@contextmanager
def somebody_at_work() -> Iterator[None]:
    with engine().connect() as holder:
        holder.execute(text(f"SELECT pg_advisory_lock({training_runs.LOCK})"))
        yield


def status(service: TestClient) -> tuple[str | None, str]:
    found = service.get("/model/status").json()
    return found["warning"], found["text"]


def test_a_training_that_takes_ten_times_as_long_is_told(service: TestClient, runs: Runs) -> None:
    runs(BEFORE, outcome="published", took=60, from_scratch=True)
    runs(AT_WORK, took=590, from_scratch=True)
    browser = Browser(service).register()
    with somebody_at_work():
        assert status(service)[0] is None
        runs("UPDATE training_runs SET started_at = started_at - interval '1 minute' WHERE outcome = 'running'")
        warning, words = status(service)
        assert warning is not None
        assert "has been at work for 65" in warning
        assert "(60 s)" in warning
        assert warning in words
        assert "takes far longer than the one before: 10 min" in said(browser.get("/dashboard/training"))


def test_one_that_has_ended_is_told_too(service: TestClient, runs: Runs) -> None:
    runs(BEFORE, outcome="published", took=20, from_scratch=True)
    runs(BEFORE, outcome="rejected", took=300, from_scratch=True)
    assert "took 300 s" in str(status(service)[0])
    browser = Browser(service).register()
    assert "took far longer than the one before: 5 min instead of 20 s" in said(browser.get("/dashboard/training"))
    runs("UPDATE users SET is_admin = true")
    assert "took far longer than the one before" in said(browser.get("/admin"))


def test_a_training_from_scratch_is_not_compared_with_one_that_went_on(service: TestClient, runs: Runs) -> None:
    runs(BEFORE, outcome="published", took=5, from_scratch=False)
    runs(BEFORE, outcome="published", took=300, from_scratch=True)
    assert status(service)[0] is None


def test_a_training_that_waits_too_long_for_its_turn_is_told(service: TestClient, runs: Runs) -> None:
    runs(WAITS, waited=30)
    assert status(service)[0] is None
    runs(WAITS, waited=200)
    assert "waiting for its turn for 20" in str(status(service)[0])
    browser = Browser(service).register()
    assert "waiting for its turn for 3 min" in said(browser.get("/dashboard/training"))

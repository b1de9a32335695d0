"""Figures for Prometheus and readiness with its reasons, as those see them who watch the service."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app.core.database import new_session
from app.core.db.replica import Replica
from app.core.settings import settings
from app.crud import training_control
from app.domain.actors import Actor
from app.ml.serving.model_order import serving_models
from app.ml.serving.version_store import VersionStore
from tests.conftest import _forget
from tests.school import Student, until
from tests.tcp_proxy import TcpProxy
from tests.versions import serving, version

Students = Callable[..., Student]
Labels = frozenset[tuple[str, str]]


def scraped(client: TestClient, **headers: str) -> dict[tuple[str, Labels], float]:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(found: dict[tuple[str, Labels], float], name: str, **labels: str) -> float:
    return found.get((f"smartstudy_{name}", frozenset(labels.items())), 0)


def test_requests_are_counted_by_route_and_unknown_paths_as_one(service: TestClient, student: Students) -> None:
    ada = student()
    before = scraped(service)
    tasks = [ada.ask().json()["id"] for _ in range(2)]
    for task in tasks:
        ada.get(f"/practice-tasks/{task}")
    for path in ("/nope", "/nowhere/42", "/practice-tasks/1/2/3"):
        service.get(path)
    service.request("BREW", "/healthz")
    after = scraped(service)

    def more(**labels: str) -> float:
        found = (value(each, "http_requests_total", **labels) for each in (after, before))
        return next(found) - next(found)

    assert more(method="POST", route="/practice-tasks", status="201") == 2
    assert more(method="GET", route="/practice-tasks/{task_id}", status="200") == 2
    assert more(method="GET", route="unmatched", status="404") == 3
    assert more(method="other", route="/healthz", status="405") == 1
    assert not any(tasks[0] in str(key) for key in after)
    seconds = {"method": "POST", "route": "/practice-tasks"}
    assert value(after, "http_request_duration_seconds_count", **seconds) >= 2


def test_predictions_are_counted_by_model_and_cause(service: TestClient, student: Students, db: Session) -> None:
    ada = student()
    before = scraped(service)
    ada.ask()
    after = scraped(service)
    prior = {"model": "prior", "cause": "no_model_yet"}
    assert value(after, "predictions_total", **prior) - value(before, "predictions_total", **prior) == 1
    serving(db, version(db))  # whose files were never there
    ada.status()
    ada.ask()
    assert value(scraped(service), "predictions_total", model="prior", cause="files_damaged") >= 1
    assert value(scraped(service), "degraded") == 1


def test_what_the_database_knows_is_scraped_too(service: TestClient, student: Students, db: Session) -> None:
    student().do()
    serving(db, version(db, "embedding_v2"))
    db.execute(text("INSERT INTO training_runs (outcome, finished_at) VALUES ('failed', now()), ('failed', now())"))
    training_control.pause(db, Actor("somebody"), "A test.")
    db.commit()
    found = scraped(service)
    assert value(found, "database_up") == 1
    assert (value(found, "tasks_completed"), value(found, "n_samples_since_training")) == (1, 1)
    assert value(found, "trainings_paused") == 1
    assert value(found, "training_runs_total", outcome="failed") == 2
    assert value(found, "training_runs_total", outcome="published") == 1
    assert value(found, "training_failures_in_a_row") == 2
    assert [value(found, "trainer_state", state=state) for state in ("paused", "at_work", "idle")] == [1, 0, 0]
    assert value(found, "serving_model_trained_tasks", model="embedding_v2") == 40
    assert ("smartstudy_serving_model_age_seconds", frozenset({("model", "embedding_v2")})) in found
    assert ("process_resident_memory_bytes", frozenset()) in found


def test_metrics_answer_while_the_database_is_away(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(service.app.state.figures, "_ask", away)  # type: ignore[attr-defined]
    found = scraped(service)
    assert value(found, "database_up") == 0
    assert ("smartstudy_build_info", frozenset()) not in found
    assert any(name == "smartstudy_build_info" for name, _ in found)
    assert not any(name == "smartstudy_tasks_completed" for name, _ in found)


def test_a_store_and_a_replica_that_are_away_are_scraped(
    service: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = scraped(service)
    assert value(found, "store_up") == 1
    assert ("smartstudy_replica_up", frozenset[tuple[str, str]]()) not in found  # there is none
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "somebody")
    monkeypatch.setattr(serving_models(), "store", VersionStore(tmp_path, "s3://models/school"))
    standby = Replica(create_engine("postgresql+psycopg2://nobody@127.0.0.1:9/none"), str)
    monkeypatch.setattr("app.routers.metrics.replica", lambda: standby)
    with new_session()() as db:
        assert standby.at_once(db, lambda asked: asked.scalar(text("SELECT 1"))) == 1
    until(lambda: value(scraped(service), "store_up") == 0, 30)
    assert value(scraped(service), "replica_up") == 0


def test_metrics_want_the_token_where_there_is_one(service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_TOKEN", "scrape me")
    settings.cache_clear()
    for headers in ({}, {"Authorization": "Bearer scrape"}, {"Authorization": "Basic scrape me"}):
        refused = service.get("/metrics", headers=headers)
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    scraped(service, Authorization="Bearer scrape me")


def test_ready(service: TestClient) -> None:
    assert service.get("/readyz").json() == {"status": "ok", "reasons": []}


def test_ready_but_degraded_where_files_or_trainings_are_not_as_they_should_be(
    service: TestClient, student: Students, db: Session
) -> None:
    made = version(db)
    serving(db, made)
    db.execute(text("INSERT INTO training_runs (outcome, finished_at, message) VALUES ('failed', now(), 'No room.')"))
    db.commit()
    service.app.state.serving.refresh()  # type: ignore[attr-defined]
    answer = service.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    damaged, failed = answer.json()["reasons"]
    assert f"Version {made} of embedding_v2 can't be loaded" in damaged
    assert failed == "The last training failed: No room. The model in use stays."
    training_control.pause(db, Actor("somebody"), "Exams today.")
    db.commit()
    assert "Trainings are paused: Exams today." in service.get("/readyz").json()["reasons"][1]


def test_not_ready_where_the_tables_are_others(service: TestClient, db: Session) -> None:
    db.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    db.commit()
    answer = service.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "smartstudy migrate" in answer.json()["reasons"][0]


def test_not_ready_in_bounded_time_where_the_database_hangs(
    service: TestClient, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that nobody gives back is as good as a database that hangs."""
    db.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
    monkeypatch.setattr(service.app.state.readiness, "_seconds", 0.05)  # type: ignore[attr-defined]
    answer = service.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"]
    db.rollback()
    monkeypatch.setattr(service.app.state.readiness, "_seconds", 30)  # type: ignore[attr-defined]
    assert until(lambda: service.get("/readyz").status_code == 200)


def test_a_database_that_hangs_is_not_waited_for(
    database_url: str, environment: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and says nothing: /healthz, /readyz and /metrics answer all the same."""
    proxy = TcpProxy(database_url)
    monkeypatch.setenv("DATABASE_URL", proxy.url)
    _forget()
    service = request.getfixturevalue("service")
    until(lambda: service.get("/readyz").status_code == 200)
    proxy.freeze()
    assert service.get("/healthz").status_code == 200
    answer = service.get("/readyz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["The database did not answer within 2 s."])
    service.app.state.figures._since = 0.0
    assert value(scraped(service), "database_up") == 0
    proxy.mend()
    proxy.cut()

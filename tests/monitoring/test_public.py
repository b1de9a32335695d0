"""What anybody may be told of what is wrong: which part and what to do, not where it lies."""

import json
from io import StringIO

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.cli import monitor
from app.crud import training_control, training_runs
from app.domain.actors import Actor
from app.ml.training.run import sentence
from app.monitoring.public import for_anybody
from app.monitoring.status import training_now

AWAY = (
    "The store of the models, s3://pupils/school, can't be used: Generic S3 error: Error performing GET "
    "http://10.0.0.5:9000/pupils - Server returned 404: NoSuchBucket, there is no pupils. Look elsewhere."
)
REPLICA = "The replica (DATABASE_READ_URL) does not answer, and the database itself does"
PLACES = ("pupils", "10.0.0", "/srv/", "://")
ENDS = """INSERT INTO training_runs (outcome, finished_at, message, progress)
          VALUES ('failed', now(), :message, jsonb_build_object('step', 'store', 'why', :why))"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            f"The new lnirt could not be stored: {AWAY}",
            "The new lnirt could not be stored: The store of the models can't be used; predictions go on, and "
            "`smartstudy status` and the log say why.",
        ),
        (
            "Trained without Dask's workers: Dask's scheduler tcp://10.0.0.9:8786 can't be reached: it is closed.",
            "Trained without Dask's workers: Dask's scheduler can't be reached: it is closed.",
        ),
        ("MODEL_DIR (/srv/models) has 12 MB left: make room.", "MODEL_DIR has 12 MB left: make room."),
        ("lnirt: No space left on device: /srv/models/versions/.staging-1", "lnirt: No space left on device"),
        ("[Errno 13] Permission denied: '/srv/models/x y'.", "[Errno 13] Permission denied."),
        (
            sentence(OSError(28, "No space left on device", "/srv/my school's (old)/.staging-1")),
            "No space left on device",
        ),
        ("OSError: Permission denied: '/srv/x y' -> '/srv/z'", "OSError: Permission denied"),
        ("DATA_DIR (/srv/my models (old)) can't be reached: it is gone.", "DATA_DIR can't be reached: it is gone."),
        (
            "The last one was tcp://10.0.0.9:4711. Timed out at tcp://pupils:1 after 30 s: ('10.0.0.9', 8786).",
            "The last one was an address. Timed out at an address after 30 s: ('an address', 8786).",
        ),
        (
            f'{REPLICA}: connection to server at "10.0.0.5", port 5432 failed: FATAL: no user pupils',
            f"{REPLICA}; the log says why.",
        ),
        (f"{REPLICA}: it is on timeline 2, not 1: wait", f"{REPLICA}: it is on timeline 2, not 1: wait"),
        ("At 12:30: 'a' and/or 'b' by numpy 2.1.3 in 1:30.", "At 12:30: 'a' and/or 'b' by numpy 2.1.3 in 1:30."),
        ("Go on: `smartstudy resume` or POST /model/resume.", "Go on: `smartstudy resume` or POST /model/resume."),
        (
            "Kept version 12: version 13's log-loss 0.61 is worse.",
            "Kept version 12: version 13's log-loss 0.61 is worse.",
        ),
    ],
)
def test_buckets_hosts_and_folders_are_left_out(said: str, told: str) -> None:
    assert for_anybody(said) == told


def test_anybody_learns_that_the_store_can_not_be_used_and_only_operators_where_it_is(
    service: TestClient, db: Session
) -> None:
    for _ in range(5):
        db.execute(text(ENDS), {"message": f"The new lnirt could not be stored: {AWAY}", "why": AWAY})
    db.commit()

    def seen() -> str:
        found = [service.get(path).text for path in ("/model/status", "/readyz")]
        db.rollback()
        return "\n".join([*found, training_now(db).model_dump_json()])

    said = seen()
    assert said.count("The store of the models can't be used; predictions go on") >= 5
    assert [place for place in PLACES if place in said] == []
    assert monitor.status(db).model_dump_json().count("s3://pupils/school") >= 3
    training_control.pause(db, Actor(training_control.SERVICE), f"5 trainings failed in a row, the last: {AWAY}")
    db.commit()
    assert [place for place in PLACES if place in seen()] == []
    assert "s3://pupils/school" in json.dumps(monitor.status(db).model_dump(mode="json")["paused"])
    training_control.resume(db, Actor("ada@example.com"))
    training_control.pause(db, Actor("ada@example.com"), "Until https://wiki.example.org/exams says so.")
    db.commit()
    assert "https://wiki.example.org/exams" in seen()


def test_operators_learn_from_the_status_why_a_run_waits_for_a_store_that_can_be_listed_but_takes_nothing(
    db: Session,
) -> None:
    db.execute(
        text("""INSERT INTO training_runs (outcome, started_at, progress)
                VALUES ('running', now(), jsonb_build_object('step', 'store', 'why', CAST(:why AS text)))"""),
        {"why": "The store of the models, file:///srv, can't be used: No space left on device."},
    )
    db.execute(text(f"SELECT pg_advisory_xact_lock({training_runs.LOCK})"))
    told = Console(file=StringIO(), width=300)
    told.print(monitor.shown(db))
    assert isinstance(told.file, StringIO)
    assert "file:///srv, can't be used: No space left on device." in told.file.getvalue()
    assert "file:///srv" not in training_now(db).model_dump_json()

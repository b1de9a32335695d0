"""Whatever only admins may do, leaves a line that says who did it."""

import json
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli import main
from app.crud import accounts, audit
from app.domain.actors import COMMAND_LINE
from app.ml.evaluation.simulated import school as simulated_school
from app.ml.evaluation.simulated import simulate
from app.ml.training.scheduler import Trainer, trainer
from tests.school import PASSWORD, Student, imported
from tests.versions import serving, version

runner = CliRunner()


@pytest.fixture
def admin(student: Any, db: Session) -> Student:
    who: Student = student("grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    return who


def run(*arguments: str, code: int = 0) -> str:
    result = runner.invoke(main.app, list(arguments), env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def post(caller: Student, path: str, body: Any = None) -> Any:
    return caller.client.post(path, json=body, headers=caller.headers)


def acts(admin: Student) -> list[tuple[str, str, str]]:
    items = admin.get("/audit").json()["items"]
    return [(each["actor"], each["act"], each["subject"]) for each in items]


@pytest.fixture
def _idle(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = {"outcome": "published", "message": "Trained by nobody."}
    monkeypatch.setattr(Trainer, "_supervised", lambda *_: nothing)


@pytest.mark.usefixtures("_idle")
def test_what_an_admin_does_is_written_down(admin: Student, db: Session) -> None:
    old, new = version(db), version(db)
    serving(db, new)
    imported(db, simulate(simulated_school(4, seed=1), 5, seed=1).attempts)
    done = [post(admin, f"/model/versions/{old}/promote"), post(admin, "/model/rollback"), post(admin, "/model/train")]
    assert [each.status_code for each in done] == [200, 200, 202]
    trainer()._pool.submit(lambda: None).result(10)
    me = "grace@example.com"
    assert acts(admin) == [
        (me, "training asked", f"run {done[2].json()['run_id']}"),
        (me, "rolled back", f"version {new}"),
        (me, "promoted", f"version {old}"),
    ]
    first = admin.get("/audit").json()["items"][-1]
    assert first["request_id"] == done[0].headers["x-request-id"]
    assert first["address"] == "testclient"
    assert first["actor_id"] == str(db.scalar(text("SELECT id FROM users")))


def test_what_was_refused_is_no_act(admin: Student, db: Session) -> None:
    assert post(admin, "/model/rollback").status_code == 409
    assert post(admin, "/model/versions/7/promote").status_code == 404
    assert post(admin, "/model/train").status_code == 422
    assert acts(admin) == []


def test_an_act_that_fails_leaves_no_line_and_a_line_that_fails_no_act(
    admin: Student, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = version(db)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no audit")

    monkeypatch.setattr(audit, "record", broken)
    assert post(admin, f"/model/versions/{first}/promote").status_code == 500
    assert admin.get(f"/model/versions/{first}").json()["state"] == "candidate"


@pytest.mark.usefixtures("_idle")
def test_the_command_line_is_written_down_too(db: Session) -> None:
    old, new = version(db), version(db)
    serving(db, new)
    imported(db, simulate(simulated_school(4, seed=1), 5, seed=1).attempts)
    key = run("key", "create", "school").splitlines()[0]
    newer = run("key", "rotate", "school").splitlines()[0]
    run("key", "revoke", "school")
    password = run("admin", "create", "grace@example.com").split("shown this once: ")[1].strip()
    run("admin", "create", "grace@example.com")  # who is one already
    run("promote", str(old))
    run("rollback")
    run("train")
    items = json.loads(run("audit", "--json"))["items"]
    assert [(each["act"], each["subject"]) for each in reversed(items)] == [
        ("key created", "school"),
        ("key rotated", "school"),
        ("key revoked", "school"),
        ("key revoked", "school"),
        ("admin created", "grace@example.com"),
        ("promoted", f"version {old}"),
        ("rolled back", f"version {new}"),
        ("training asked", items[0]["subject"]),
    ]
    assert {(each["actor"], each["address"]) for each in items} == {("command line", None)}
    shown = run("audit") + json.dumps(items)
    assert "promoted" in shown
    assert not any(secret in shown for secret in (key, newer, password))


def test_a_pause_is_written_down_once_by_either_door(admin: Student) -> None:
    for _ in range(2):
        assert post(admin, "/model/pause", {"reason": "Exams."}).status_code == 200
    assert post(admin, "/model/resume").status_code == 200
    run("pause", "--reason", "More exams.")
    run("resume")
    run("resume")
    done = [(each["actor"], each["act"]) for each in admin.get("/audit").json()["items"]]
    assert done == [
        ("command line", "trainings resumed"),
        ("command line", "trainings paused"),
        ("grace@example.com", "trainings resumed"),
        ("grace@example.com", "trainings paused"),
    ]


def test_an_admin_made_of_an_account_is_written_down(admin: Student, db: Session, student: Any) -> None:
    student("ada")
    run("admin", "create", "ada@example.com")
    assert acts(admin) == [("command line", "admin created", "ada@example.com")]
    assert PASSWORD not in run("audit", "--json")


def test_acts_come_in_pages(admin: Student, db: Session) -> None:
    assert admin.get("/audit").json() == {"items": [], "next": None}
    for number in range(3):
        audit.record(db, COMMAND_LINE, "tried", str(number), note="ü\x1b")
    db.commit()
    page = admin.get("/audit", limit=2).json()
    assert [each["subject"] for each in page["items"]] == ["2", "1"]
    rest = admin.get("/audit", limit=2, before=page["next"]).json()
    assert ([each["subject"] for each in rest["items"]], rest["next"]) == (["0"], None)
    assert admin.get("/audit", before=2**63 - 1, limit=1).json()["items"][0]["subject"] == "2"
    assert [admin.get("/audit", **{name: 0}).status_code for name in ("before", "limit")] == [422, 422]
    assert admin.get("/audit", before=2**63).status_code == 422
    assert len(json.loads(run("audit", "--limit", "1", "--json"))["items"]) == 1


def test_without_acts_the_command_says_so(db: Session) -> None:
    assert "has been done yet" in run("audit")

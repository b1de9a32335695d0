"""What admins do about topics, through the API and at the command line: the same, and in the audit once."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli import main
from app.crud import accounts
from tests.school import Student

runner = CliRunner()


@pytest.fixture
def admin(student: Callable[..., Student], db: Session) -> Student:
    who = student("grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    return who


def post(caller: Student, act: str, **body: Any) -> Any:
    return caller.client.post(f"/topics/{act}", json=body, headers=caller.headers)


def run(*arguments: str, code: int = 0) -> str:
    result = runner.invoke(main.app, ["topic", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def listed(admin: Student, **query: Any) -> list[tuple[str, int, str | None]]:
    found = admin.get("/topics", **query).json()["items"]
    return [(each["name"], each["finished"], each["state"]) for each in found]


def test_an_admin_renames_merges_approves_and_hides(admin: Student, student: Callable[..., Student]) -> None:
    ada = student()
    for name in ("calculuss", "Calculus", "Calculus", "Visit evil.example"):
        ada.do(topic=name)
    assert post(admin, "rename", topic="calculuss", to="calcolus").json() == {
        "topic": "calcolus",
        "tasks": 1,
        "plans": 0,
        "message": "'calculuss' is called 'calcolus' now, in 1 task and 0 exam plans.",
    }
    assert post(admin, "rename", topic="calcolus", to="Calculus").status_code == 409
    assert post(admin, "merge", topic="calcolus", into="Calculus").json()["tasks"] == 1
    assert post(admin, "hide", topic="Visit evil.example").status_code == 200
    assert post(admin, "approve", topic="Calculus").status_code == 200
    assert listed(admin) == [("Calculus", 3, "approved"), ("Visit evil.example", 1, "hidden")]
    assert listed(admin, state="hidden", search="EVIL") == [("Visit evil.example", 1, "hidden")]
    acts = [(each["actor"], each["act"]) for each in admin.get("/audit").json()["items"]]
    said = ("topic approved", "topic hidden", "topic merged", "topic renamed")
    assert acts == [("grace@example.com", act) for act in said]
    assert {each["topic"] for each in ada.get("/practice-tasks").json()["items"]} == {"Calculus", "Visit evil.example"}


def test_a_school_approves_the_topics_of_its_own(admin: Student, school: Student) -> None:
    admin.do(topic="Calculus")
    assert post(school, "approve", topic="Calculus").status_code == 200
    assert listed(admin) == [("Calculus", 1, "approved")]
    entry = admin.get("/audit").json()["items"][0]
    assert (entry["actor"], entry["act"], entry["subject"]) == ("service key", "topic approved", "Calculus")
    assert post(school, "hide", topic="Calculus").status_code == 403


def test_what_can_not_be_done_to_a_topic_is_said(admin: Student) -> None:
    admin.do(topic="Calculus")
    assert post(admin, "hide", topic="Calculs").json()["detail"].startswith("Nobody has written this topic")
    assert post(admin, "merge", topic="Calculus", into="Algebra").status_code == 404
    assert post(admin, "merge", topic="Calculus", into="Calculus").status_code == 422
    refused = post(admin, "rename", topic="Calculus", to="Calculus\u202e")
    assert (refused.status_code, "U+202E (RIGHT-TO-LEFT OVERRIDE)" in refused.json()["detail"]) == (422, True)


def test_the_list_has_pages(admin: Student) -> None:
    for name in "abc":
        admin.do(topic=name)
    first = admin.get("/topics", limit=2).json()
    assert [each["name"] for each in first["items"]] == ["a", "b"]
    last = admin.get("/topics", limit=2, offset=first["next"]).json()
    assert ([each["name"] for each in last["items"]], last["next"]) == (["c"], None)


def test_the_command_line_does_the_same(admin: Student, db: Session) -> None:
    for name in ("calculuss", "Calculus"):
        admin.do(topic=name)
    assert "'calculuss' is called 'calcolus' now" in run("rename", "calculuss", "calcolus")
    assert "has become part of 'Calculus', with 1 task" in run("merge", "calcolus", "Calculus")
    assert "may be suggested" in run("approve", "Calculus")
    assert "approved" in run("list")
    run("hide", "Calculus")
    assert json.loads(run("list", "--json"))["items"][0]["state"] == "hidden"
    run("show", "Calculus")
    assert listed(admin) == [("Calculus", 2, None)]
    assert "There is no such topic" in run("list", "--search", "Physics")
    assert "Nobody has written this topic" in run("hide", "Physics", code=1)
    assert "U+200B (ZERO WIDTH SPACE)" in run("rename", "Calculus", "Cal\u200bculus", code=1)
    assert db.scalar(text("SELECT count(*) FROM audit_log WHERE actor = 'command line'")) == 5


def test_students_see_what_they_may_pick_their_own_first(
    student: Callable[..., Student], school: Student, admin: Student
) -> None:
    ada, somebody = student(), "00000000-0000-4000-8000-00000000000b"
    for name, times in (("Waves", 1), ("Calculus", 3)):
        for _ in range(times):
            ada.do(topic=name)
    school.do(topic="Optics", user_id=somebody)
    school.do(topic="Secret", user_id=somebody)
    assert post(admin, "approve", topic="Optics").status_code == 200
    found = ada.get("/topics").json()["items"]
    assert [(each["name"], each["own_tasks"]) for each in found] == [("Calculus", 3), ("Waves", 1), ("Optics", 0)]
    assert {each["students"] for each in found} == {None}
    assert [each["name"] for each in ada.get("/topics", search="w").json()["items"]] == ["Waves"]
    first = ada.get("/topics", limit=2).json()
    assert first["next"] == 2
    assert [each["name"] for each in ada.get("/topics", offset=2).json()["items"]] == ["Optics"]
    assert [each["name"] for each in admin.get("/topics", mine=True).json()["items"]] == ["Optics"]
    assert [each["name"] for each in school.get("/topics", user_id=somebody).json()["items"]] == ["Optics", "Secret"]

"""Students who were made up: they lead nobody, are told apart, and go together, without a trace."""

from collections.abc import Callable
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from app.cli import guided_run, main
from app.core.database import new_session
from app.core.db.statements import run_sync
from app.crud import accounts, audit, demonstration, service_keys, topic_history, topics
from app.ml.evaluation import sample
from app.ml.training.scheduler import Trainer
from faults.invariants import counted
from tests.school import Student, nobody_trains
from tests.web.browsing import Browser, said

MADE_UP = sample.STUDENTS * sample.TASKS


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings do nothing."""
    monkeypatch.setattr(Trainer, "_supervised", nobody_trains)


@pytest.fixture
def loaded(environment: object) -> None:
    with new_session().begin() as db:
        sample.load(db)


@pytest.fixture
def grace(service: TestClient, loaded: None, db: Session) -> Browser:
    """An admin of an installation with the sample, who has practised."""
    found = Browser(service).register("grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    found.practise("Waves")
    return found


def finished(db: Session) -> int:
    db.rollback()
    return int(db.scalar(text("SELECT count(*) FROM practice_tasks WHERE completed")))


def test_one_button_takes_all_of_them_away_and_nothing_of_anybody_else(grace: Browser, db: Session) -> None:
    page = grace.get("/admin/demonstration")
    assert "40 students were made up" in said(page)
    assert "1,200 tasks of theirs" in said(page)
    assert "made-up students are gone" in said(grace.send("/admin/demonstration"))
    assert finished(db) == 1
    assert list(counted(db)) == []
    assert [each.act for each in audit.newest(db, 1)] == ["demonstration removed"]
    assert "There are no made-up students." in said(grace.get("/admin/demonstration"))
    grace.send("/admin/demonstration")  # once more does nothing
    assert [each.act for each in audit.newest(db, 2)].count("demonstration removed") == 1


def test_every_page_says_that_some_are_made_up_until_they_are_gone(grace: Browser) -> None:
    banner = "Demonstration data: some of the students here are made up."
    for path in ("/dashboard", "/admin", "/"):
        assert banner in said(grace.get(path))
    assert "Remove them" in said(grace.get("/admin"))
    grace.send("/admin/demonstration")
    for path in ("/dashboard", "/admin", "/"):
        assert banner not in said(grace.get(path))


def test_a_student_and_a_visitor_see_it_too_but_not_the_way_to_remove_them(service: TestClient, loaded: None) -> None:
    ada = Browser(service)
    assert "Demonstration data" in said(ada.get("/"))
    ada.register("ada")
    assert "Demonstration data" in said(ada.get("/dashboard"))
    assert "Remove them" not in said(ada.get("/dashboard"))


def test_they_lead_no_suggestion_of_real_students(loaded: None, db: Session, school: Student) -> None:
    ada = UUID(int=7)
    assert run_sync(topic_history.popular_topics(ada), db) == {}
    db.execute(text("INSERT INTO topics (name, state) VALUES ('Waves', 'approved')"))
    assert run_sync(topic_history.popular_topics(ada), db) == {}  # an approved topic needs somebody who practises it
    db.commit()
    school.do(topic="Waves", user_id=str(UUID(int=8)))
    assert run_sync(topic_history.popular_topics(ada), db) == {"Waves": 1}


def test_admins_see_what_real_students_do_apart_from_what_was_made_up(grace: Browser, db: Session) -> None:
    made_up, real = (topics.listed(db, search=name)[0] for name in ("Statistics", "Waves"))
    assert (made_up.students, made_up.without_account, made_up.finished, made_up.open) == (0, 0, 0, 0)
    assert (real.students, real.without_account, real.finished) == (1, 0, 1)
    assert (made_up.made_up, real.made_up) == (37, sample.STUDENTS)
    assert topics.listed(db)[0].name == "Waves"
    assert "40 made up" in said(grace.get("/admin/topics"))


def test_an_admins_own_front_end_removes_them(student: Callable[..., Student], loaded: None, db: Session) -> None:
    admin = student("grace")
    accounts.make_admin(db, "grace@example.com")
    db.commit()
    gone, again = (admin.client.delete("/model/demonstration", headers=admin.headers).json() for _ in range(2))
    assert gone == {"students": sample.STUDENTS, "tasks": MADE_UP}
    assert again == {"students": 0, "tasks": 0}
    assert finished(db) == 0
    assert admin.status()["demonstration"] is None


def test_the_status_counts_them(service: TestClient, loaded: None, student: Callable[..., Student]) -> None:
    found = student().status()
    assert found["demonstration"] == {"students": sample.STUDENTS, "tasks": MADE_UP}
    assert "40 of the students, 1,200 of the tasks" in found["text"]


def test_a_command_takes_them_away(loaded: None, db: Session) -> None:
    runner = CliRunner()
    assert "Made up" in runner.invoke(main.app, ["status"], env={"COLUMNS": "150"}).output
    asked = runner.invoke(main.app, ["sample", "--remove"], input="n\n")
    assert "Remove 40 made-up students with 1,200 tasks?" in asked.output
    assert finished(db) == MADE_UP
    done = runner.invoke(main.app, ["sample", "--remove", "--yes"])
    assert "Removed 40 made-up students with 1,200 tasks" in done.output
    assert finished(db) == 0
    assert "There are no made-up students." in str(runner.invoke(main.app, ["sample", "--remove"]).exception)
    assert runner.invoke(main.app, ["sample"]).exit_code == 0  # there is room for them again


def test_what_is_made_up_is_marked_before_its_first_task(loaded: None, db: Session) -> None:
    strangers = "SELECT count(DISTINCT user_id) FROM practice_tasks WHERE user_id NOT IN (TABLE demonstration_students)"
    assert db.scalar(text(strangers)) == 0


def test_the_guided_run_is_a_demonstration_and_its_key_ends_with_it(
    service: TestClient, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guided_run, "TASKS", 8)  # too few for a training
    console = Console(record=True, width=200)
    guided_run.GuidedRun(service, "http://here", console).run()
    assert "What you see is a demonstration." in console.export_text()
    assert demonstration.found(db) == demonstration.Demonstration(4, 13)  # with those that were only asked
    again = Console(record=True, width=200)
    guided_run.GuidedRun(service, "http://here", again).run()
    assert "What you see is a demonstration: 4 of its students are made up." in again.export_text()
    db.rollback()
    CliRunner().invoke(main.app, ["sample", "--remove", "--yes"])
    assert [key.state for key in service_keys.listed(db)] == ["revoked"]
    db.rollback()


def test_a_real_installation_says_that_it_is_one(service: TestClient, student: Callable[..., Student]) -> None:
    student().do()
    console = Console(record=True, width=200)
    guided_run.GuidedRun(service, "http://here", console).run()
    assert "none of its students is made up" in console.export_text()

"""A result is changed or taken back, an open task discarded: by whom, until when, and what is right at once."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.settings import settings
from app.ml.training import scheduler as trainer
from tests.school import SOMEBODY, Student

Students = Callable[..., Student]
TOTALS = "SELECT scope, key, n, n_correct, microseconds FROM student_totals ORDER BY scope, key"


def correct(student: Student, task_id: str, is_correct: Any = True, seconds: Any = 30.0) -> httpx.Response:
    body = {"is_correct": is_correct, "actual_time_seconds": seconds}
    path = f"/practice-tasks/{task_id}/result"
    answer: httpx.Response = student.client.put(path, json=body, headers=student.headers)
    return answer


def delete(student: Student, path: str) -> httpx.Response:
    answer: httpx.Response = student.client.delete(f"/practice-tasks/{path}", headers=student.headers)
    return answer


def totals(db: Session) -> list[tuple[Any, ...]]:
    db.rollback()
    return [tuple(row) for row in db.execute(text(TOTALS))]


def counter(student: Student) -> int:
    found: int = student.status()["counter"]["since_training"]
    return found


def finished_days_ago(db: Session, days: float) -> None:
    ago = "now() - make_interval(secs => :seconds)"
    db.execute(
        text(f"UPDATE practice_tasks SET created_at = {ago} - interval '1 minute', completed_at = {ago}"),
        {"seconds": days * 86_400},
    )
    db.commit()


def test_an_open_task_is_discarded_and_a_completed_one_is_not(student: Students) -> None:
    ada = student()
    task, done = ada.ask().json()["id"], ada.do()
    assert delete(ada, task).status_code == 204
    assert (delete(ada, task).status_code, ada.get(f"/practice-tasks/{task}").status_code) == (404, 404)
    refused = delete(ada, done["id"])
    assert refused.status_code == 409
    assert f"PUT /practice-tasks/{done['id']}/result" in refused.json()["detail"]
    assert ada.get("/practice-tasks").json()["items"] == [done]


def test_a_corrected_result_counts_at_once_and_the_old_one_is_kept(student: Students, db: Session) -> None:
    ada = student()
    task = ada.do(is_correct=False, seconds=95)
    ada.do(is_correct=True, seconds=10)
    answer = correct(ada, task["id"], True, 40)
    assert answer.status_code == 200
    assert answer.json() == task | {"is_correct": True, "actual_time_seconds": 40.0}
    assert answer.json() == ada.get(f"/practice-tasks/{task['id']}").json()
    assert totals(db)[0] == ("all", "", 2, 2, 50_000_000)
    assert counter(ada) == 2
    (old,) = ada.get(f"/practice-tasks/{task['id']}/corrections").json()
    assert (old["was_correct"], old["was_seconds"], old["is_correct"], old["actual_time_seconds"]) == (
        False, 95.0, True, 40.0,
    )  # fmt: skip
    assert (old["made_by"], old["completed_at"]) == ("student", task["completed_at"])


def test_the_same_result_again_changes_nothing(student: Students) -> None:
    ada = student()
    task = ada.do(is_correct=False, seconds=95)
    for _ in range(2):
        assert correct(ada, task["id"], True, 40).json()["actual_time_seconds"] == 40.0
    assert len(ada.get(f"/practice-tasks/{task['id']}/corrections").json()) == 1
    assert ada.complete(task["id"], True, 40).status_code == 200  # a PATCH that says what is so, too


def test_another_result_by_patch_names_the_way_to_correct(student: Students) -> None:
    ada = student()
    task = ada.do()["id"]
    refused = ada.complete(task, False, 30)
    assert refused.status_code == 409
    assert f"PUT /practice-tasks/{task}/result" in refused.json()["detail"]


def test_an_open_task_has_no_result_to_correct(student: Students) -> None:
    ada = student()
    task = ada.ask().json()["id"]
    refused = correct(ada, task)
    assert refused.status_code == 409
    assert refused.json()["detail"] == f"The task has no result yet: PATCH /practice-tasks/{task} records one."


def test_what_is_taken_back_is_as_if_it_had_never_been_completed(student: Students, db: Session) -> None:
    ada = student()
    ada.do(topic="Algebra")
    before, asked = totals(db), ada.ask().json()
    ada.complete(asked["id"], False, 5)
    assert counter(ada) == 2
    for _ in range(2):
        answer = delete(ada, f"{asked['id']}/result")
        assert (answer.status_code, answer.json()) == (200, asked)
    assert (totals(db), counter(ada)) == (before, 1)
    assert ada.complete(asked["id"], True, 6).json()["actual_time_seconds"] == 6.0
    (old,) = ada.get(f"/practice-tasks/{asked['id']}/corrections").json()
    assert (old["was_seconds"], old["is_correct"]) == (5.0, None)


def test_students_may_correct_for_some_days_and_service_keys_always(
    student: Students, school: Student, db: Session
) -> None:
    ada = student()
    ada.client.post("/users/me/schools", json={"name": "school"}, headers=ada.headers)
    task = school.do(user_id=ada.get("/users/me").json()["id"], is_correct=False, seconds=20)["id"]
    finished_days_ago(db, settings().correction_days - 0.01)
    assert correct(ada, task, True, 20).status_code == 200
    finished_days_ago(db, settings().correction_days + 0.01)
    for late in (correct(ada, task, False, 20), delete(ada, f"{task}/result")):
        assert late.status_code == 403
        assert late.json()["detail"].startswith("A result can be changed for 7 days after it was recorded")
    assert correct(ada, task, True, 20).status_code == 200  # it is so already
    assert correct(school, task, False, 21).status_code == 200
    assert ada.get(f"/practice-tasks/{task}/corrections").json()[-1]["made_by"] == "service key school"
    assert delete(school, f"{task}/result").json()["completed"] is False


def test_where_students_may_not_correct_they_are_told(
    service: TestClient, student: Students, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "correction_days", 0.0)
    ada = student()
    late = correct(ada, ada.do()["id"], False, 1)
    assert (late.status_code, late.json()["detail"].split(".")[0]) == (
        403,
        "A result can't be changed here once it is recorded",
    )


def test_tasks_of_others_and_those_that_are_not_there_are_not_found(student: Students) -> None:
    ada, ben = student("ada"), student("ben")
    for task in (ada.do()["id"], ada.ask().json()["id"], str(uuid4())):
        answers = (correct(ben, task), delete(ben, task), delete(ben, f"{task}/result"))
        assert [answer.status_code for answer in answers] == [404] * 3
        assert ben.get(f"/practice-tasks/{task}/corrections").status_code == 404


@pytest.mark.parametrize("result", [(None, 3.0), ("yes", 3.0), (True, 0), (True, -1.0), (True, "3"), (True, 1e9)])
def test_a_result_that_is_none_is_refused(student: Students, result: tuple[Any, Any]) -> None:
    ada = student()
    task = ada.do()
    assert correct(ada, task["id"], *result).status_code == 422
    assert ada.get(f"/practice-tasks/{task['id']}").json() == task


def test_corrections_are_in_the_export_and_go_with_the_student(student: Students, db: Session) -> None:
    ada = student()
    task = ada.do(is_correct=False, seconds=95)["id"]
    correct(ada, task, True, 40)
    delete(ada, f"{task}/result")
    delete(ada, task)  # what the results were stays
    exported = ada.get("/users/me/export").json()
    assert [(each["was_correct"], each["was_seconds"], each["is_correct"]) for each in exported["corrections"]] == [
        (False, 95.0, True),
        (True, 40.0, None),
    ]
    assert exported["tasks"] == []
    assert ada.client.delete("/users/me", headers=ada.headers).status_code == 204
    assert db.scalar(text("SELECT count(*) FROM result_corrections")) == 0


def trained(db: Session, tasks: int, since: int) -> None:
    """A training has just begun, and learnt from so many tasks."""
    db.execute(text("INSERT INTO training_runs (started_at, outcome) VALUES (clock_timestamp(), 'published')"))
    db.execute(
        text("UPDATE embedding_model_tracker SET n_samples_last_training = :t, n_samples_since_training = :s"),
        {"t": tasks, "s": since},
    )
    db.commit()


def counts(db: Session) -> tuple[int, int]:
    db.rollback()
    row = db.execute(
        text("SELECT n_samples_last_training, n_samples_since_training FROM embedding_model_tracker")
    ).one()
    return tuple(row)


def test_what_a_training_learnt_and_was_corrected_is_one_more_to_learn(student: Students, db: Session) -> None:
    ada = student()
    learnt = [ada.do()["id"] for _ in range(3)]
    trained(db, 3, 0)
    new = ada.do()["id"]
    assert counts(db) == (3, 1)
    correct(ada, new, False, 3)  # which the next training learns anyway
    assert counts(db) == (3, 1)
    for seconds in (4, 5):  # once, however often
        correct(ada, learnt[0], False, seconds)
        assert counts(db) == (2, 2)
    delete(ada, f"{learnt[1]}/result")
    assert counts(db) == (1, 2)
    delete(ada, f"{new}/result")
    delete(ada, f"{learnt[0]}/result")
    assert counts(db) == (1, 0)


def test_the_fifth_to_be_learnt_again_sets_off_a_training(
    student: Students, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    monkeypatch.setattr(trainer.Trainer, "request", lambda _: asked.append(None))
    ada = student()
    tasks = [ada.do()["id"] for _ in range(5)]
    asked.clear()
    trained(db, 5, 0)
    for task in tasks[:4]:
        correct(ada, task, False, 3)
    assert (asked, counts(db)) == ([], (1, 4))
    correct(ada, tasks[4], False, 3)
    assert (asked, counts(db)) == ([None], (0, 5))


def test_a_student_whom_a_school_names_is_corrected_by_it(school: Student) -> None:
    task = school.do(user_id=SOMEBODY, is_correct=False)["id"]
    assert correct(school, task, True, 12).json()["is_correct"] is True
    open_task = school.ask(user_id=SOMEBODY).json()["id"]
    assert delete(school, open_task).status_code == 204

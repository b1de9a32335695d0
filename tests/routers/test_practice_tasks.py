import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.ml.training import scheduler as trainer
from tests.conftest import SharedProcess
from tests.school import SOMEBODY, Student

Students = Callable[..., Student]


def test_a_new_task_comes_with_its_prediction(student: Students) -> None:
    answer = student().ask("  Ableitungen 数学  ", "hard", item_id="ex-17")
    assert answer.status_code == 201
    task = answer.json()
    assert (task["topic"], task["difficulty"], task["item_id"]) == ("Ableitungen 数学", "hard", "ex-17")
    assert (task["completed"], task["is_correct"], task["completed_at"]) == (False, None, None)
    assert (task["correctness_prob"], task["estimated_time_seconds"], task["model_version"]) == (0.5, 60.0, "prior")


def test_a_completed_task_keeps_its_result(student: Students) -> None:
    ada = student()
    task = ada.do(is_correct=False, seconds=12)
    assert (task["completed"], task["is_correct"], task["actual_time_seconds"]) == (True, False, 12.0)
    assert task["completed_at"] > task["created_at"]
    assert ada.get(f"/practice-tasks/{task['id']}").json() == task


def test_the_same_result_again_changes_nothing_and_another_is_refused(student: Students) -> None:
    ada = student()
    task = ada.do(is_correct=True, seconds=30)
    again = ada.complete(task["id"], True, 30)
    assert (again.status_code, again.json()) == (200, task)
    for result in ((False, 30.0), (True, 31.0)):
        refused = ada.complete(task["id"], *result)
        assert refused.status_code == 409
        assert "right in 30 s" in refused.json()["detail"]
    assert ada.status()["counter"]["since_training"] == 1


def test_a_task_of_somebody_else_is_not_found(student: Students) -> None:
    ada, ben = student("ada"), student("ben")
    task = ada.ask().json()
    for answer in (ben.get(f"/practice-tasks/{task['id']}"), ben.complete(task["id"]), ben.complete(str(uuid4()))):
        assert answer.status_code == 404
        assert answer.json()["detail"] == "There is no such task among yours."
    assert ben.get("/practice-tasks").json()["items"] == []
    assert ben.get("/practice-tasks", user_id=task["user_id"]).json()["items"] == []


def test_a_student_may_not_name_a_student_and_a_key_must(student: Students, school: Student) -> None:
    assert student().ask(user_id=SOMEBODY).status_code == 422
    assert school.ask().status_code == 422
    task = school.ask(user_id=SOMEBODY)
    assert (task.status_code, task.json()["user_id"]) == (201, SOMEBODY)
    assert school.complete(task.json()["id"]).status_code == 200


def test_without_a_valid_token_or_key_nothing_is_answered(student: Students) -> None:
    ada = student()
    for secret in ("nonsense", "ssk_nonsense", ada.secret[:-2], ada.secret + "x"):
        answer = Student(ada.client, secret).ask()
        assert answer.status_code == 401, secret
        assert answer.headers["www-authenticate"] == "Bearer"
    assert ada.client.get("/practice-tasks").status_code == 401


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"topic": ""}, "topic"),
    ({"topic": "   "}, "topic"),
    ({"topic": "x" * 201}, "topic"),
    ({"topic": "a\x00b"}, "topic"),
    ({"topic": 5}, "topic"),
    ({"difficulty": "impossible"}, "difficulty"),
    ({"difficulty": None}, "difficulty"),
    ({"item_id": ""}, "item_id"),
    ({"correctness_prob": 0.9}, "correctness_prob"),
]


@pytest.mark.parametrize(("change", "field"), WRONG)
def test_a_wrong_value_is_named_with_what_is_accepted(student: Students, change: dict[str, Any], field: str) -> None:
    answer = student().ask(**{"topic": "Calculus", "difficulty": "easy", **change})
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["errors"][0]["field"] == field
    assert {"type", "title", "status", "detail", "request_id"} <= set(problem)
    assert answer.headers["x-request-id"] == problem["request_id"]


@pytest.mark.parametrize("seconds", ["NaN", "Infinity", "-Infinity", "1e999", "-1", "0", '"30"', "true", "null", "1e9"])
def test_a_time_that_is_no_finite_positive_number_is_refused(student: Students, seconds: str) -> None:
    ada = student()
    task = ada.ask().json()["id"]
    body = f'{{"is_correct": true, "actual_time_seconds": {seconds}}}'
    headers = {**ada.headers, "Content-Type": "application/json"}
    answer = ada.client.patch(f"/practice-tasks/{task}", content=body, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "actual_time_seconds")
    assert ada.get(f"/practice-tasks/{task}").json()["completed"] is False


@pytest.mark.parametrize("body", ["", "{", '{"topic": "\\ud800", "difficulty": "easy"}', "[" * 60_000, "\xff"])
def test_a_body_that_is_no_json_is_a_problem_not_a_crash(student: Students, body: str) -> None:
    ada = student()
    headers = {**ada.headers, "Content-Type": "application/json"}
    answer = ada.client.post("/practice-tasks", content=body.encode("latin-1"), headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_pages_hold_every_task_once_newest_first(student: Students) -> None:
    ada = student()
    made = [ada.ask(topic).json()["id"] for topic in "ABABABA"]
    seen, before = [], None
    while True:
        query = {"limit": 2} | ({"before": before} if before else {})
        page = ada.get("/practice-tasks", **query).json()
        seen += [task["id"] for task in page["items"]]
        before = page["next"]
        if before is None:
            break
    assert seen == made[::-1]
    assert [task["topic"] for task in ada.get("/practice-tasks", topic="B").json()["items"]] == ["B"] * 3
    assert ada.get("/practice-tasks", before="nonsense").status_code == 422


def test_open_and_completed_tasks_can_be_told_apart(student: Students) -> None:
    ada = student()
    ada.ask()
    done = ada.do()["id"]
    assert [task["id"] for task in ada.get("/practice-tasks", completed=True).json()["items"]] == [done]
    assert len(ada.get("/practice-tasks", completed=False).json()["items"]) == 1


def test_a_key_sees_all_students_or_one(school: Student) -> None:
    other = str(uuid4())
    for user_id in (SOMEBODY, other):
        school.ask(user_id=user_id)
    assert len(school.get("/practice-tasks").json()["items"]) == 2
    assert [task["user_id"] for task in school.get("/practice-tasks", user_id=other).json()["items"]] == [other]


def test_64_concurrent_results_each_sent_twice_count_once(
    environment: Path, warm_process: SharedProcess, db: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.crud import accounts
    from app.main import create_app, lifespan

    monkeypatch.setattr(trainer, "TrainingProcess", lambda: warm_process)
    headers = {"Authorization": f"Bearer {accounts.create_key(db, 'load')}"}
    db.commit()

    async def run() -> list[int]:
        app = create_app()
        transport = httpx.ASGITransport(app)
        async with (
            lifespan(app),
            httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as web,
        ):
            new = [{"topic": "T", "difficulty": "easy", "user_id": str(uuid4())} for _ in range(64)]
            tasks = await asyncio.gather(*(web.post("/practice-tasks", json=body) for body in new))
            ids = [task.json()["id"] for task in tasks]
            result = {"is_correct": True, "actual_time_seconds": 20}
            sent = await asyncio.gather(*(web.patch(f"/practice-tasks/{i}", json=result) for i in ids + ids))
            while not (await web.get("/model/status")).json()["last_run"]:
                await asyncio.sleep(0.05)
            return [answer.status_code for answer in sent]

    assert asyncio.run(run()) == [200] * 128
    assert db.scalar(text("SELECT count(*) FROM practice_tasks WHERE completed")) == 64
    counted = "SELECT n_samples_last_training + n_samples_since_training FROM embedding_model_tracker"
    assert db.scalar(text(counted)) == 64
    assert db.scalar(text("SELECT count(*) FROM training_runs WHERE outcome = 'published'")) >= 1


def test_32_results_for_one_task_at_once_count_once_and_the_others_are_refused(student: Students, db: Session) -> None:
    ada = student()
    task = ada.ask().json()["id"]

    def send(n: int) -> tuple[int, float | None]:
        answer = ada.complete(task, True, 20.0 if n % 2 else 30.0)
        return answer.status_code, answer.json().get("actual_time_seconds")

    with ThreadPoolExecutor(32) as many:
        answers = list(many.map(send, range(32)))
    kept = ada.get(f"/practice-tasks/{task}").json()["actual_time_seconds"]
    assert sorted(answers, key=str) == [(200, kept)] * 16 + [(409, None)] * 16
    assert ada.status()["counter"]["since_training"] == 1
    assert db.scalar(text("SELECT n FROM student_totals WHERE scope = 'all'")) == 1


def test_a_deleted_account_and_a_revoked_key_are_out_at_once(student: Students, school: Student, db: Session) -> None:
    ada = student()
    mine, theirs = ada.ask().json()["id"], school.ask(user_id=SOMEBODY).json()["id"]
    db.execute(text("DELETE FROM users"))
    db.execute(text("UPDATE service_keys SET revoked_at = now()"))
    db.commit()
    gone = "This token was ended, by a new password or in the settings, or its account is gone or disabled."
    revoked = "This service key is not known, or it was revoked."
    for answer in (ada.ask(), ada.complete(mine), ada.get("/practice-tasks"), ada.ask(difficulty="impossible")):
        assert (answer.status_code, answer.json()["detail"]) == (401, gone)
    for answer in (school.ask(user_id=SOMEBODY), school.complete(theirs), school.ask(), school.complete("no-uuid")):
        assert (answer.status_code, answer.json()["detail"]) == (401, revoked)
    assert db.scalar(text("SELECT count(*) FROM practice_tasks")) == 2
    assert db.scalar(text("SELECT count(*) FROM practice_tasks WHERE completed")) == 0

"""Many tasks at once are what they would be one by one."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.settings import settings
from app.domain.interactions import student_id
from tests.school import SOMEBODY, Student

Students = Callable[..., Student]
SAID = ("correctness_prob", "estimated_time_seconds", "model_version", "time_low_seconds", "time_high_seconds")


def predict(caller: Student, tasks: list[dict[str, Any]], **whose: Any) -> httpx.Response:
    body = {"tasks": tasks, **whose}
    answer: httpx.Response = caller.client.post("/predictions", json=body, headers=caller.headers)
    return answer


def create(caller: Student, tasks: list[Any], **more: Any) -> httpx.Response:
    body = {"tasks": tasks, **more}
    answer: httpx.Response = caller.client.post("/practice-tasks/batch", json=body, headers=caller.headers)
    return answer


def complete(caller: Student, results: list[Any], **more: Any) -> httpx.Response:
    body = {"results": results, **more}
    answer: httpx.Response = caller.client.patch("/practice-tasks/batch", json=body, headers=caller.headers)
    return answer


def result(task_id: str, is_correct: bool = True, seconds: float = 30.0) -> dict[str, Any]:
    return {"id": task_id, "is_correct": is_correct, "actual_time_seconds": seconds}


def said(of: dict[str, Any]) -> dict[str, Any]:
    return {name: of[name] for name in SAID}


def cells(n: int) -> list[dict[str, Any]]:
    levels = ("easy", "medium", "hard")
    return [
        {"topic": f"Topic {k % 7}", "difficulty": levels[k % 3], "item_id": f"ex-{k % 5}" if k % 2 else None}
        for k in range(n)
    ]


def counter(db: Session) -> int:
    db.rollback()
    return int(db.scalar(text("SELECT n_samples_since_training FROM embedding_model_tracker")) or 0)


def stored(db: Session) -> int:
    db.rollback()
    return int(db.scalar(text("SELECT count(*) FROM practice_tasks")) or 0)


def test_predictions_are_what_asking_one_by_one_says_and_store_nothing(student: Students, db: Session) -> None:
    ada = student()
    for k, task in enumerate(cells(4)):
        ada.do(is_correct=k % 2 == 0, **task)
    before, wanted = stored(db), cells(30)
    answer = predict(ada, wanted)
    assert answer.status_code == 200, answer.text
    assert stored(db) == before
    one_by_one = [ada.ask(**task).json() for task in wanted]
    items = answer.json()["items"]
    assert [said(item) for item in items] == [said(task) for task in one_by_one]
    assert [item["topic"] for item in items] == [task["topic"] for task in wanted]
    assert len({item["correctness_prob"] for item in items}) > 3


def test_a_batch_of_tasks_is_what_asking_one_by_one_gives_in_the_order_sent(school: Student, db: Session) -> None:
    for k, task in enumerate(cells(4)):
        school.do(is_correct=k % 2 == 0, student=f"s{k % 2}", **task)
    wanted = [{**task, "student": f"s{k % 3}"} for k, task in enumerate(cells(30))]
    one_by_one = [school.ask(**task).json() for task in wanted]
    answer = create(school, wanted)
    assert (answer.status_code, answer.json()["stored"], answer.json()["failed"]) == (200, 30, 0)
    made = [item["task"] for item in answer.json()["items"]]
    same = (*SAID, "user_id", "topic", "difficulty", "item_id", "completed", "contributions")
    assert [{name: task[name] for name in same} for task in made] == [
        {name: task[name] for name in same} for task in one_by_one
    ]
    assert {item["status"] for item in answer.json()["items"]} == {201}
    db.rollback()
    kept = "SELECT features, contributions::text, school_id FROM practice_tasks WHERE id = :id"
    for mine, theirs in zip(made, one_by_one, strict=True):
        assert school.get(f"/practice-tasks/{mine['id']}").json() == mine
        of_batch, alone = (db.execute(text(kept), {"id": each["id"]}).one() for each in (mine, theirs))
        assert of_batch[0][:16] == alone[0][:16]  # behind these is how long ago they practised
        assert of_batch[1:] == alone[1:]


def test_each_of_a_batch_has_its_own_answer(student: Students, school: Student, db: Session) -> None:
    ada = student()
    good = {"topic": "Waves", "difficulty": "easy"}
    wanted = [
        good,
        {"topic": "", "difficulty": "easy"},
        {**good, "student": "x"},
        "nonsense",
        {**good, "colour": 1},
        good,
    ]
    items = create(ada, wanted).json()["items"]
    assert [item["status"] for item in items] == [201, 422, 422, 422, 422, 201]
    assert items[1]["problem"]["errors"][0]["field"] == "topic"
    assert "is not a field" in items[4]["problem"]["detail"]
    whose = ada.get("/users/me").json()["id"]
    answers = create(school, [{**good, "user_id": whose}, {**good, "student": "anna"}, good]).json()
    assert [item["status"] for item in answers["items"]] == [403, 201, 422]
    assert (answers["stored"], answers["failed"]) == (1, 2)
    ids = [items[0]["task"]["id"], items[5]["task"]["id"]]
    others = answers["items"][1]["task"]["id"]
    results = [result(ids[0]), result(others), result(ids[1]), result(ids[0]), result(ids[0], False), {"id": 3}]
    done = complete(ada, results).json()["items"]
    assert [item["status"] for item in done] == [200, 404, 200, 200, 409, 422]
    assert done[0]["task"] == done[3]["task"] == ada.get(f"/practice-tasks/{ids[0]}").json()
    assert counter(db) == 2
    assert [item["status"] for item in complete(ada, results).json()["items"]] == [200, 404, 200, 200, 409, 422]
    assert counter(db) == 2


def test_all_or_nothing_stores_nothing_where_one_fails(student: Students, db: Session) -> None:
    ada = student()
    good = {"topic": "Waves", "difficulty": "easy"}
    before = stored(db)
    refused = create(ada, [good, {"topic": "Waves", "difficulty": "odd"}], all_or_nothing=True)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "tasks.1.difficulty")
    refused = create(ada, [good, {**good, "student": "x"}], all_or_nothing=True)
    assert (refused.status_code, refused.json()["detail"][:8]) == (422, "tasks.1:")
    assert stored(db) == before
    made = create(ada, [good, good], all_or_nothing=True).json()
    first, second = (item["task"]["id"] for item in made["items"])
    refused = complete(ada, [result(first), result(str(uuid4())), result(second)], all_or_nothing=True)
    assert (refused.status_code, refused.json()["detail"][:10]) == (404, "results.1:")
    assert (counter(db), ada.get(f"/practice-tasks/{first}").json()["completed"]) == (0, False)
    assert complete(ada, [result(first), result(second)], all_or_nothing=True).json()["stored"] == 2
    assert counter(db) == 2


def test_the_same_task_twice_is_two_and_a_new_topic_has_one_spelling(student: Students) -> None:
    ada = student()
    wanted = [{"topic": name, "difficulty": "easy"} for name in ("Heat", "HEAT", " heat ", "Heat")]
    tasks = [item["task"] for item in create(ada, wanted).json()["items"]]
    assert ([task["topic"] for task in tasks], len({task["id"] for task in tasks})) == (["Heat"] * 4, 4)
    assert predict(ada, wanted[1:2]).json()["items"][0]["topic"] == "Heat"


def test_bounds_hold_inside_a_batch(school: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings(), "max_open_tasks", 5)
    monkeypatch.setattr(settings(), "max_topics", 3)
    wanted = [{"topic": f"T{k}", "difficulty": "easy", "student": "anna"} for k in (0, 1, 2, 3, 0, 1, 2)]
    items = create(school, [*wanted, {**wanted[3], "student": "bert"}]).json()["items"]
    assert [item["status"] for item in items] == [201, 201, 201, 409, 201, 201, 409, 201]
    assert "topics are as many" in items[3]["problem"]["detail"]
    assert "open tasks are as many" in items[6]["problem"]["detail"]
    assert school.ask(topic="T0", student="anna").status_code == 409
    assert create(school, wanted[:1], all_or_nothing=True).status_code == 409


def test_every_fifth_result_of_a_batch_starts_one_training(
    school: Student, monkeypatch: pytest.MonkeyPatch, db: Session
) -> None:
    asked = list[int]()
    monkeypatch.setattr("app.ml.training.scheduler.Trainer.request", lambda *_: asked.append(1))
    items = create(school, [{**task, "student": f"s{k}"} for k, task in enumerate(cells(12))]).json()["items"]
    ids = [item["task"]["id"] for item in items]
    assert complete(school, [result(each) for each in ids[:4]]).json()["stored"] == 4
    assert (counter(db), asked) == (4, [])
    assert complete(school, [result(each) for each in ids[4:]]).json()["stored"] == 8
    assert (counter(db), asked) == (12, [1])
    db.rollback()
    n = "SELECT n FROM student_totals WHERE user_id = :student AND scope = 'all'"
    assert db.scalar(text(n), {"student": student_id("s3")}) == 1


def test_batches_about_the_same_tasks_at_the_same_moment_count_each_once(school: Student, db: Session) -> None:
    items = create(school, [{**task, "student": f"s{k % 9}"} for k, task in enumerate(cells(60))]).json()["items"]
    results = [result(item["task"]["id"]) for item in items]
    answers = list[httpx.Response]()
    threads = [
        threading.Thread(target=lambda order=order: answers.append(complete(school, order)))
        for order in (results, results[::-1], results[30:] + results[:30])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.json()["stored"] for answer in answers] == [60] * 3
    db.rollback()
    assert db.scalar(text("SELECT sum(n) FROM student_totals WHERE scope = 'all'")) == 60


def test_a_batch_counts_as_many_requests_as_it_has_tasks(student: Students, monkeypatch: pytest.MonkeyPatch) -> None:
    ada = student()
    monkeypatch.setattr(settings(), "requests_per_student", 100)
    good = {"topic": "Waves", "difficulty": "easy"}
    assert create(ada, [good] * 60).status_code == 200
    refused = create(ada, [good] * 60)
    assert (refused.status_code, int(refused.headers["retry-after"]) > 5) == (429, True)
    bert = student("bert")
    assert create(bert, [good] * 150).status_code == 200  # all that there is, but not for ever refused
    assert predict(bert, [good]).status_code == 429


def test_a_batch_has_its_bounds(student: Students, school: Student) -> None:
    ada = student()
    good = {"topic": "Waves", "difficulty": "easy"}
    assert create(ada, []).status_code == create(ada, [good] * 501).status_code == 422
    assert predict(ada, []).status_code == predict(ada, [good] * 201).status_code == 422
    assert complete(ada, [result(str(uuid4()))] * 501).status_code == 422
    assert predict(ada, [good, {"topic": "Waves", "difficulty": "odd"}]).json()["errors"][0]["field"] == (
        "tasks.1.difficulty"
    )
    longest = {"topic": "ж" * 200, "difficulty": "easy", "item_id": "ж" * 60, "user_id": SOMEBODY}
    assert create(school, [longest] * 200).status_code == 200
    assert predict(school, [good]).status_code == 422
    assert predict(school, [good], student="anna").json()["user_id"] == str(student_id("anna"))
    for answer in (create(ada, [good]), predict(ada, [good])):
        assert answer.status_code == 200
    revoked = Student(ada.client, "ssk_nobody")
    assert {create(revoked, [good]).status_code, predict(revoked, [good], student="x").status_code} == {401}
    assert complete(revoked, [result(str(uuid4()))]).status_code == 401
